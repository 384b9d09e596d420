// How many runs are looked at, and what can be done to all of them.
import { useMemo, useState } from 'react';
import { session } from '../../api/session';
import { useStore } from '../../api/store';
import { act } from '../../app/actions';
import { useRows } from '../../app/rows';
import { select, useSelection } from '../../app/selection';
import { askedOf, openRun, useView } from '../../app/view';
import { MOST_BESIDE, useMedia } from '../../panel/useMedia';
import { Button, IconButton } from '../../parts/Button';
import { Field } from '../../parts/Field';
import { showMenu } from '../../parts/Menu';
import { Popover, closePopover } from '../../parts/Popover';
import { count, plural } from '../../parts/format';
import css from './Runs.module.css';
import { bulkItems } from './runMenu';

export function SelectionBar() {
  const selection = useSelection();
  const { names, shown, isDefault, isEvery, matched, hidden } = selection;
  const [view] = useView('query', 'archived', 'group');
  const { query, group } = view;
  const rows = useRows(isDefault ? NONE : shown);
  useStore(session);
  if (isDefault || names.length === 0)
    return (
      <div className={css.selection}>
        <span className={css.soft}>
          {names.length
            ? inCharts(group.length > 0 ? 'all' : 'running and latest', shown.length, matched)
            : query && (isDefault || isEvery)
              ? 'No run with a curve passes the filter'
              : 'No run is selected'}
        </span>
        {!isDefault && (
          <Button size="small" kind="quiet" onClick={() => select(null)}>
            Running and latest
          </Button>
        )}
      </div>
    );
  const items = bulkItems(names, rows, isEvery ? askedOf(view) : null);
  const quick = (text: string) => items.find((item) => item.text.startsWith(text));
  const star = items[0]!;
  const archive = items[1]!;
  const remove = quick('Delete')!;
  return (
    <div className={css.selection}>
      <b>
        {matched > names.length ? `${count(names.length)} of ${plural(matched, 'run')}` : plural(names.length, 'run')}
      </b>
      {names.length > shown.length && (
        <span className={css.soft} data-tip="All of them are acted on">
          charts show the newest {shown.length}
        </span>
      )}
      {hidden > 0 && (
        <Button
          size="small"
          kind="quiet"
          tip="They were chosen by hand: charts show them, the table does not"
          onClick={() => select('every')}
        >
          {hidden} of {names.length} hidden by the filter: show the matches
        </Button>
      )}
      <IconButton icon="star" label={star.text} disabled={Boolean(star.disabled)} onClick={star.run} />
      <Tags names={names} />
      <MediaLink names={rows.slice(0, MOST_BESIDE).map((row) => row.name)} />
      <IconButton icon="archive" label={archive.text} disabled={Boolean(archive.disabled)} onClick={archive.run} />
      <IconButton icon="trash" label={remove.text} disabled={Boolean(remove.disabled)} onClick={remove.run} />
      <IconButton
        icon="more"
        label="More to do with them"
        aria-haspopup="menu"
        onClick={(event) => showMenu(event.currentTarget, 'More', items)}
      />
      <span className={css.space} />
      <Button size="small" kind="quiet" tip="Back to the running and the ten latest" onClick={() => select(null)}>
        Clear
      </Button>
    </div>
  );
}

const inCharts = (which: string, shown: number, matched: number) =>
  `In the charts: ${shown < matched ? `the newest ${shown} of ${count(matched)}` : `${which} (${shown})`}`;
const NONE: readonly string[] = [];

/** Where the first of the selected runs have logged images, texts or histograms: to see them side by side. */
function MediaLink({ names }: { names: readonly string[] }) {
  const key = names.join('\n');
  const runs = useMemo(() => (key ? key.split('\n') : []), [key]);
  const lists = useMedia(runs, null);
  const first = runs.find((name) => lists[name]?.length);
  if (!first) return null;
  const tip = runs.length > 1 ? 'What they logged, side by side' : 'What it logged';
  return (
    <Button size="small" kind="quiet" icon="eye" tip={tip} onClick={() => openRun(first, 'media')}>
      Media
    </Button>
  );
}

function Tags({ names }: { names: readonly string[] }) {
  const [text, setText] = useState('');
  return (
    <Popover button="Tag" icon="tag" kind="quiet" size="small" label="Tag these runs" width={240}>
      <form
        className={css.tagging}
        onSubmit={(event) => {
          event.preventDefault();
          const tag = text.trim().replace(/^[+-]/, '');
          if (tag) void act(text.trim().startsWith('-') ? 'untag' : 'tag', [...names], { tag });
          setText('');
          closePopover(event.currentTarget);
        }}
      >
        <Field
          label={`Tag for ${plural(names.length, 'run')}`}
          hint="-tag takes it away"
          placeholder="baseline"
          value={text}
          autoFocus
          onChange={(event) => setText(event.target.value)}
        />
        <Button kind="primary" size="small" type="submit">
          Tag {plural(names.length, 'run')}
        </Button>
      </form>
    </Popover>
  );
}
