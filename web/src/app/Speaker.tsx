// What screen readers hear of the runs: starts, ends and failures, nothing else.
import { useEffect, useState } from 'react';
import { live } from '../live/live';

export function Speaker() {
  const [said, setSaid] = useState('');
  useEffect(() => live.on('said', (message) => setSaid(message.text)), []);
  return (
    <div className="unseen" role="status" aria-live="polite">
      {said}
    </div>
  );
}
