// Before the first paint, so that a chosen theme does not flash. A changed file needs a new name: it is cached for ever.
try {
  var chosen = JSON.parse(localStorage.getItem('hypertuner.theme'));
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
} catch {}
