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

const root = createRoot(document.getElementById('page')!);
const show = () =>
  root.render(
    <StrictMode>
      <App />
    </StrictMode>,
  );

followTheme();
askForCurves();
// Until it is known who we are there is nothing to draw but the frame, and that is in the document.
void begin().finally(show).then(arrive);

/** A server that is not there yet is asked again until it is. */
async function arrive(): Promise<void> {
  const who = session.get();
  if (who instanceof Refusal && who.status === 0) setTimeout(() => void begin().then(arrive), 2000);
  else if (!(who instanceof Refusal)) {
    rememberView();
    live.start();
    watchNow();
  }
}
