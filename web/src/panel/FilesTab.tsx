// The files of a run's folder, the text of those that are text, and what was recorded of its environment.
import { useState } from 'react';
import { download } from '../api/ask';
import type { Schema, Value } from '../api/types';
import { useGet } from '../api/use';
import { Button, IconButton } from '../parts/Button';
import { Copy } from '../parts/Copy';
import { bytes, value } from '../parts/format';
import { names } from '../parts/names';
import css from './Panel.module.css';
import type { Detail } from './useDetail';

const TEXT = /\.(py|txt|md|json|jsonl|toml|ya?ml|cfg|ini|sh|log|csv|diff|patch)$/i;

export function FilesTab({ detail }: { detail: Detail }) {
  const [open, setOpen] = useState<string | null>(null);
  const of = `/api/runs/${encodeURIComponent(detail.row.name)}`;
  const environment = Object.entries(detail.attempts[detail.attempts.length - 1]?.environment ?? {});
  return (
    <div className={css.padded}>
      <div className={css.line}>
        <code className={css.folder}>{detail.folder}</code>
        <Copy text={detail.folder} label="Copy the folder" />
        <span className={css.grow} />
        <Button size="small" icon="download" onClick={() => download(`${of}/export.zip`)}>
          Zip of the run
        </Button>
      </div>
      <table className={css.table}>
        <tbody>
          {inOrder(detail.files).map((file) => (
            <tr key={file.id} className={names(open === file.id && css.changedRow)}>
              <th scope="row">
                {TEXT.test(file.name) ? (
                  <button
                    type="button"
                    className={css.link}
                    aria-expanded={open === file.id}
                    onClick={() => setOpen(open === file.id ? null : file.id)}
                  >
                    {file.name}
                  </button>
                ) : (
                  file.name
                )}
              </th>
              <td className={css.right}>{bytes(file.nbytes)}</td>
              <td className={css.rowActions}>
                <IconButton
                  icon="download"
                  label={`Download ${file.name}`}
                  onClick={() => download(`${of}/files/${encodeURIComponent(file.id)}`, { download: 1 })}
                />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {open && <FileText key={open} path={`${of}/text/${encodeURIComponent(open)}`} />}
      {environment.length > 0 && (
        <>
          <h3>Environment</h3>
          <table className={css.table}>
            <tbody>
              {environment.map(([key, one]) => (
                <tr key={key}>
                  <th scope="row">{key}</th>
                  <td className={css.wrap}>{value(one as Value)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </>
      )}
    </div>
  );
}

/** What people look for first: the run's own files, its sources, then what each attempt left. */
function inOrder(files: readonly Schema<'FileEntry'>[]): Schema<'FileEntry'>[] {
  const rank = (name: string) => (name.startsWith('attempts/') ? 2 : name.includes('/') ? 1 : 0);
  return [...files].sort(
    (a, b) => rank(a.name) - rank(b.name) || a.name.localeCompare(b.name, 'en', { numeric: true }),
  );
}

function FileText({ path }: { path: string }) {
  const { answer, refusal } = useGet<Schema<'FileText'>>(path);
  if (refusal) return <p className={css.problem}>{refusal.message}</p>;
  if (!answer) return null;
  return (
    <div className={css.code}>
      <pre tabIndex={0} aria-label={answer.name}>
        {answer.text}
        {answer.is_cut && '\n… the file goes on; download it for all of it.'}
      </pre>
      <Copy text={answer.text} label={`Copy ${answer.name}`} />
    </div>
  );
}
