// Before the page's own code is there: who we are is asked, and what Runs shows first; then a chosen theme is set.
(function () {
  var token = new URLSearchParams(location.hash.slice(1)).get('token');
  // An answer that is read as soon as it comes, and as often as somebody wants it.
  var read = function (response) {
    var body = response.json();
    body.catch(function () {}); // Whoever wants it hears of one that is cut off.
    return { ok: response.ok, status: response.status, json: () => body };
  };
  // What was in the address is swapped for a cookie first: it may be good for one time only.
  var login = Promise.resolve(null);
  if (token !== null) {
    history.replaceState(history.state, '', location.pathname + location.search);
    login = fetch('/api/login', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Hypertuner': '1' },
      body: JSON.stringify({ token: token }),
    }).then((response) => (response.ok ? null : read(response)));
  }
  var ask = function (path) {
    var asked = login.then((refusal) => refusal || fetch(path).then(read));
    asked.catch(function () {}); // Whoever waits for it hears of a server that is not there.
    return asked;
  };
  var first = { session: ask('/api/session'), answers: {} };
  // By the addresses that the page itself would ask: what it asks otherwise is asked then.
  var early = function (path) {
    first.answers[path] = ask(path);
  };
  var selected = new URLSearchParams(location.search).get('sel');
  if (/^\/(runs)?$/.test(location.pathname) && !/[?&](q|sort|desc|archived)=/.test(location.search)) {
    early('/api/runs?offset=0&limit=200');
    if (selected && selected !== '*') {
      var names = selected.split(',').slice(0, 100);
      early('/api/runs/rows?' + new URLSearchParams(names.map((name) => ['name', name])));
    }
  }
  window.askedFirst = first;
})();

// Done: a script that is found in the document later on is nobody's of ours.
document.currentScript.remove();

// Last, for the browser takes its time to open what it has kept, and the server answers meanwhile.
try {
  var chosen = JSON.parse(localStorage.getItem('hypertuner.theme'));
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
} catch {}
