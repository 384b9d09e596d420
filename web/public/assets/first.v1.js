// Before the first paint: a chosen theme, so that nothing flashes; and who we are is asked while the page's own code is
// still on its way. A changed file needs a new name: it is cached for ever.
try {
  var chosen = JSON.parse(localStorage.getItem('hypertuner.theme'));
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
} catch {}

(function () {
  var token = new URLSearchParams(location.hash.slice(1)).get('token');
  var ask = function (path, init) {
    var asked = fetch(path, init);
    asked.catch(function () {}); // Whoever waits for it hears of a server that is not there.
    return asked;
  };
  var asked = { session: null, login: null };
  if (token === null) {
    asked.session = ask('/api/session');
  } else {
    history.replaceState(history.state, '', location.pathname + location.search);
    asked.session = ask('/api/session', { headers: { Authorization: 'Bearer ' + token } });
    asked.login = ask('/api/login', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Hypertuner': '1' },
      body: JSON.stringify({ token: token }),
    });
  }
  window.askedFirst = asked;
})();
