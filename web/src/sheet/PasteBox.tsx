// Pasted JSON or YAML becomes settings; a mistake says its line.
import { useEffect, useRef, useState } from 'react';
import type { Value } from '../api/types';
import { Button } from '../parts/Button';
import css from './Sheet.module.css';
import { readPasted } from './paste';

export function PasteBox({ onUse, onClose }: { onUse: (config: Record<string, Value>) => void; onClose: () => void }) {
  const [text, setText] = useState('');
  const ref = useRef<HTMLTextAreaElement>(null);
  const read = readPasted(text);
  useEffect(() => ref.current?.focus(), []);
  const keys = 'config' in read ? Object.keys(read.config) : [];
  return (
    <div className={css.paste}>
      <textarea
        ref={ref}
        rows={6}
        aria-label="Settings as JSON or YAML"
        placeholder={'lr: 3e-4\noptimizer:\n  name: adamw'}
        value={text}
        spellCheck={false}
        onChange={(event) => setText(event.target.value)}
      />
      <div className={css.pasteLine}>
        <span className={text.trim() && 'problem' in read ? css.error : css.hint} role="status">
          {text.trim() === ''
            ? 'JSON, YAML, or key=value lines'
            : 'problem' in read
              ? `${read.line === null ? '' : `line ${read.line}: `}${read.problem}`
              : keys.slice(0, 6).join(', ') + (keys.length > 6 ? ', …' : '')}
        </span>
        <Button size="small" kind="quiet" onClick={onClose}>
          Cancel
        </Button>
        <Button size="small" disabled={!('config' in read)} onClick={() => 'config' in read && onUse(read.config)}>
          {keys.length ? `Use ${keys.length} ${keys.length === 1 ? 'setting' : 'settings'}` : 'Use them'}
        </Button>
      </div>
    </div>
  );
}
