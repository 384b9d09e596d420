// Where the page begins: the socket, the session and the first rows are asked for before React is there to draw them.
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { begin } from '../api/session';
import { live } from '../live/live';
import { watchNow } from '../live/now';
import './tokens.css';
import './page.css';
import { App } from './App';
import { rememberView } from './remembered';
import { followTheme } from './theme';

followTheme();
void begin().then(() => {
  rememberView();
  live.start();
  watchNow();
});
createRoot(document.getElementById('page')!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
