// A run's config: what differs from its parent first, what the script never read marked.
import { useState } from 'react';
import type { Value } from '../api/types';
import { openRun } from '../app/view';
import { Copy } from '../parts/Copy';
import { exactValue, plural, value } from '../parts/format';
import { names } from '../parts/names';
import css from './Panel.module.css';
import type { Detail } from './useDetail';

export function ConfigTab({ detail }: { detail: Detail }) {
  const [filter, setFilter] = useState('');
  const all = detail.config.filter((one) => one.key.toLowerCase().includes(filter.toLowerCase()));
  const rows = [...all.filter((one) => one.is_changed), ...all.filter((one) => !one.is_changed)];
  const changed = detail.config.filter((one) => one.is_changed).length;
  const json = JSON.stringify(Object.fromEntries(detail.config.map((one) => [one.key, one.value])), null, 2);
  const parentRun = detail.parent?.split('@')[0];
  return (
    <div className={css.padded}>
      <div className={css.line}>
        {detail.parent && (
          <p className={css.soft}>
            {detail.parent_how === 'fork' ? 'Forked from' : 'Started from the weights of'}{' '}
            <button type="button" className={css.link} onClick={() => parentRun && openRun(parentRun)}>
              {detail.parent}
            </button>
            {detail.parent_share !== null &&
              detail.parent_share < 0.9995 &&
              ` (${Math.round(detail.parent_share * 1000) / 10} % of its parameters)`}
            {changed === 0
              ? '; every setting is as it was there.'
              : `; ${changed} ${changed === 1 ? 'setting differs' : 'settings differ'}.`}
          </p>
        )}
        {detail.config.length > 12 && (
          <input
            className={css.find}
            aria-label="Find a setting"
            placeholder="Find a setting"
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
        )}
        {!detail.parent && <span className={css.soft}>{plural(detail.config.length, 'setting')}</span>}
        <span className={css.grow} />
        <Copy text={json} label="Copy the config as JSON" />
      </div>
      {detail.config.length === 0 ? (
        <p className={css.soft}>This run was given no settings: everything is as its script has it.</p>
      ) : (
        <table className={css.table}>
          <thead>
            <tr>
              <th scope="col">setting</th>
              <th scope="col">value</th>
              {detail.parent && <th scope="col">parent</th>}
              <th scope="col">
                <span className="unseen">remarks</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((one) => (
              <tr key={one.key} className={names(one.is_changed && css.changedRow)}>
                <th scope="row">{one.key}</th>
                <td data-tip={exactValue(one.value as Value)}>{value(one.value as Value)}</td>
                {detail.parent && <td className={css.soft}>{one.is_changed ? value(one.parent as Value) : ''}</td>}
                <td className={css.warnText}>{one.is_read === false ? 'never read by the script' : ''}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {detail.arguments.length > 0 && (
        <p className={css.soft}>
          Its own arguments: <code>{detail.arguments.join(' ')}</code>
        </p>
      )}
    </div>
  );
}
