// Where the page begins: the socket, the session and the first rows are asked for before React is there to draw them.
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Refusal } from '../api/ask';
import { begin, session } from '../api/session';
import { live } from '../live/live';
import { watchNow } from '../live/now';
import { askForCurves } from '../places/runs/ahead';
import './page.css';
import { App } from './App';
import { rememberView } from './remembered';
import { followTheme } from './theme';

followTheme();
askForCurves();
void arrive();

/** A server that is not there yet is asked again until it is. */
async function arrive(): Promise<void> {
  await begin();
  const who = session.get();
  if (who instanceof Refusal && who.status === 0) setTimeout(() => void arrive(), 2000);
  else if (!(who instanceof Refusal)) {
    rememberView();
    live.start();
    watchNow();
  }
}

createRoot(document.getElementById('page')!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
