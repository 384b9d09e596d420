// Before the page's own code is there: a chosen theme is set, and who we are is asked.
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
