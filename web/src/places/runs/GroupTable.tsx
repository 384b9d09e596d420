// Runs grouped by settings: of each metric the mean and its standard deviation, over seeds say.
import { useMemo, useState } from 'react';
import type { Columns, Group, Value } from '../../api/types';
import { hotRun, select, useSelection } from '../../app/selection';
import { changeView, useView } from '../../app/view';
import { Empty } from '../../parts/Empty';
import { IconButton } from '../../parts/Button';
import { count, exact, number, value } from '../../parts/format';
import { RunMark } from '../../parts/RunMark';
import { Grid, type GridColumn } from '../../table/Grid';
import css from './Runs.module.css';
import { type GroupedTable, groupKey } from './groups';
import { groupId } from './means';

export function GroupTable({ groups: grouped, known }: { groups: GroupedTable; known: Columns | null }) {
  const [view] = useView('group');
  const { answer, refusal, metrics, isBest, grouping } = grouped;
  const selection = useSelection();
  const [sort, setSort] = useState<{ id: string; isDown: boolean }>({ id: 'runs', isDown: true });
  const [cursor, setCursor] = useState(0);
  const groups = useMemo(() => sorted(answer?.groups ?? [], sort), [answer, sort]);
  const chosen = useMemo(() => new Set(selection.names), [selection.names]);
  const columns = useMemo<GridColumn[]>(() => {
    const direction = (id: string) => (sort.id !== id ? 'none' : sort.isDown ? 'descending' : 'ascending');
    return [
      { id: 'look', title: '', width: 30, head: <span className="unseen">Colour</span> },
      ...view.group.map((key): GridColumn => ({
        id: `by:${key}`,
        title: key,
        width: Math.max(64, Math.min(140, 26 + 6.6 * key.length)),
        sort: direction(`by:${key}`),
      })),
      { id: 'runs', title: 'runs', width: 64, isNumber: true, sort: direction('runs') },
      ...metrics.map((key): GridColumn => ({
        id: `metric:${key}`,
        title: key,
        tip: `${key}: mean ± standard deviation of the ${isBest ? 'best' : 'last'} values`,
        width: 128,
        isNumber: true,
        sort: direction(`metric:${key}`),
      })),
      { id: 'open', title: '', width: 40, head: <span className="unseen">Filter</span> },
    ];
  }, [view.group, metrics, sort, isBest]);
  const keyOf = (group: Group) => groupKey(view.group, group.values) ?? '';
  if (refusal) return <Empty title="They cannot be grouped" text={refusal.message} />;
  return (
    <Grid<Group>
      label="Groups of runs"
      columns={columns}
      count={groups.length}
      version={answer?.revision ?? 0}
      rowAt={(index) => groups[index] ?? null}
      keyOf={keyOf}
      isChosen={(group) =>
        !selection.isDefault && group.names.length > 0 && group.names.every((name) => chosen.has(name))
      }
      onRowHover={(group) => hotRun.set(group && groupId(keyOf(group)))}
      cursor={cursor}
      onCursor={setCursor}
      onRange={noRange}
      onSort={(id) => setSort((before) => ({ id, isDown: before.id === id ? !before.isDown : descends(id, known) }))}
      onRowClick={(group, _, event) => {
        const isMore = event.shiftKey || event.metaKey || event.ctrlKey;
        select(isMore ? [...new Set([...selection.names, ...group.names])] : group.names);
      }}
      onRowOpen={(group) => narrow(group, known)}
      cell={(group, id) => {
        if (id === 'look') {
          const look = grouping?.looks.get(keyOf(group));
          return look && <RunMark {...look} />;
        }
        if (id === 'runs') return count(group.runs);
        if (id === 'open')
          return (
            <IconButton
              icon="search"
              label="Only these runs"
              tabIndex={-1}
              className={css.narrow}
              onClick={() => narrow(group, known)}
            />
          );
        if (id.startsWith('by:'))
          return (
            <span className={css.value}>
              {id.slice(3) in group.values ? value(group.values[id.slice(3)] as Value) : '–'}
            </span>
          );
        const found = group.metrics[id.slice(7)];
        if (!found || found.mean === null) return <span className={css.none}>–</span>;
        return (
          <span
            data-tip={`mean ${exact(found.mean)}\nstd ${found.std === null ? '–' : exact(found.std)}\nlowest ${found.lowest === null ? '–' : exact(found.lowest)}\nhighest ${found.highest === null ? '–' : exact(found.highest)}\n${found.runs} runs`}
          >
            <b className={css.metric}>{number(found.mean)}</b>
            <span className={css.soft}>
              {found.std === null || found.runs < 2 ? '' : ` ± ${number(Number(found.std.toPrecision(2)))}`}
            </span>
          </span>
        );
      }}
    />
  );
}

const noRange = () => undefined;
const descends = (id: string, known: Columns | null) =>
  id === 'runs' ||
  (id.startsWith('metric:') && known?.metrics.find((one) => one.key === id.slice(7))?.direction === 'max');

/** The filter becomes what the group has, and grouping ends. */
function narrow(group: Group, known: Columns | null): void {
  const said = Object.entries(group.values).map(([key, one]) => {
    const name = known?.config.find((column) => column.key === key)?.name ?? key;
    if (one === null) return `${name} is None`;
    return `${name} == ${typeof one === 'boolean' ? (one ? 'True' : 'False') : JSON.stringify(one)}`;
  });
  changeView({ query: said.join(' and '), group: [] });
}

function sorted(groups: readonly Group[], { id, isDown }: { id: string; isDown: boolean }): Group[] {
  const of = (group: Group): number | string => {
    if (id === 'runs') return group.runs;
    if (id.startsWith('metric:')) return group.metrics[id.slice(7)]?.mean ?? NaN;
    const given = group.values[id.slice(3)];
    return typeof given === 'number' ? given : value(given as Value);
  };
  return [...groups].sort((a, b) => {
    const [x, y] = [of(a), of(b)];
    // What has none stands last, whichever way.
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
    const order =
      typeof x === 'number' && typeof y === 'number'
        ? x - y
        : String(x).localeCompare(String(y), 'en', { numeric: true });
    return isDown ? -order : order;
  });
}
