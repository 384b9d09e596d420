// The home of the page: the table of runs, their charts beside it, and what differs below.
import { useEffect, useMemo, useRef } from 'react';
import { download } from '../../api/ask';
import { useStore } from '../../api/store';
import { useGet } from '../../api/use';
import type { Columns } from '../../api/types';
import { ColumnPicker } from '../../app/ColumnPicker';
import { QueryBar } from '../../app/QueryBar';
import { kept } from '../../app/kept';
import { useSelection } from '../../app/selection';
import { type View, askedOf, changeView, openNewRun, useView } from '../../app/view';
import { Button, IconButton } from '../../parts/Button';
import { Empty } from '../../parts/Empty';
import { Select } from '../../parts/Field';
import { type MenuItem, showMenu } from '../../parts/Menu';
import { plural } from '../../parts/format';
import { DiffStrip } from './DiffStrip';
import { GroupTable } from './GroupTable';
import { overSeeds, useGroups } from './groups';
import { RunCharts } from './RunCharts';
import css from './Runs.module.css';
import { RunsTable } from './RunsTable';
import { SelectionBar } from './SelectionBar';
import { FACTS, OVER_STEPS, metricColumn, parseColumn, usualColumns, withSorted } from './columns';
import { useTable } from './useTable';

const USUAL_SPLIT = 0.4;
const split = kept<number>('split', USUAL_SPLIT);

export function Runs() {
  const [view] = useView('query', 'sort', 'descending', 'archived', 'group', 'each', 'columns');
  const { query, sort, descending, archived } = view;
  const table = useTable({ query, sort, descending, archived });
  // What tells runs apart is asked after the rows: of many runs either takes the server a moment.
  const columns = useGet<Columns>('/api/runs/columns', {
    query: askedOf({ query: table.query ?? query, archived }),
  });
  const { again } = columns;
  const known = columns.answer;
  const total = table.total;
  const counted = useRef<number | null>(null);
  useEffect(() => {
    // What the first answer counts is what was just asked about.
    if (total !== null && counted.current !== null && total !== counted.current) again();
    counted.current = total;
  }, [total, again]);
  const usual = useMemo(() => withSorted(usualColumns(known), sort, known), [known, sort]);
  const ids = view.columns ?? usual;
  const groups = useGroups(ids);
  const selection = useSelection();
  const share = useStore(split);

  if (table.matched === 0 && table.total === 0 && !query && !archived)
    return (
      <div className={css.runs}>
        <QueryBar matched={0} total={0} />
        <Empty
          title="No runs yet"
          text="Every script that makes a hypertuner.Logger or a Saver appears here, from its first number on."
          command="python train.py"
        >
          <Button kind="primary" keys="n" onClick={() => openNewRun()}>
            New run
          </Button>
        </Empty>
      </div>
    );
  return (
    <div className={css.runs}>
      <QueryBar matched={table.matched} total={table.total}>
        <Button
          kind="quiet"
          icon="group"
          aria-haspopup="menu"
          aria-pressed={view.group.length > 0}
          onClick={(event) => showMenu(event.currentTarget, 'Group by', groupItems(known, view))}
        >
          {view.group.length ? `Grouped by ${view.group.join(', ')}` : 'Group'}
        </Button>
        <RunColumns known={known} ids={ids} />
        <IconButton
          icon="more"
          label="More"
          aria-haspopup="menu"
          onClick={(event) =>
            showMenu(event.currentTarget, 'More', [
              {
                text: 'Export these runs as CSV',
                icon: 'download',
                run: () => download('/api/runs/export.csv', { query: askedOf(view), sort, descending }),
              },
              {
                text: 'Show the archive',
                icon: 'archive',
                isOn: archived,
                run: () => changeView({ archived: !archived }),
              },
              { text: 'The usual view', icon: 'again', line: true, run: usualView },
            ])
          }
        />
      </QueryBar>
      <div className={css.split} style={{ gridTemplateColumns: `${share * 100}% 1px minmax(0, 1fr)` }}>
        <div className={css.left}>
          <div className={css.table}>
            {view.group.length > 0 ? (
              <GroupTable groups={groups} known={known} />
            ) : (
              <RunsTable table={table} known={known} ids={ids} />
            )}
            {table.matched === 0 && view.group.length === 0 && (
              <div className={css.over}>
                <Empty
                  title={archived ? 'The archive is empty' : 'No run matches'}
                  text={query ? `${plural(table.total ?? 0, 'run')} hidden by the filter` : undefined}
                >
                  <Button onClick={() => changeView({ query: '', archived: false })}>
                    {query ? 'Clear the filter' : 'Show the runs'}
                  </Button>
                </Empty>
              </div>
            )}
          </div>
          {!table.isComplete && <div className={css.reading}>Reading the storage: more runs appear</div>}
          <SelectionBar />
        </div>
        <Divider />
        <RunCharts names={selection.shown} page={selection.page} known={known} grouping={groups.grouping} />
      </div>
      <DiffStrip names={selection.shown} ids={ids} known={known} />
    </div>
  );
}

function usualView(): void {
  changeView({
    sort: '',
    descending: null,
    group: [],
    each: false,
    columns: null,
    selected: null,
    archived: false,
    query: '',
    zoom: null,
    zoomY: [],
    chart: null,
  });
}

function groupItems(known: Columns | null, { group: by, each }: Pick<View, 'group' | 'each'>): MenuItem[] {
  const keys = (known?.config ?? []).filter((one) => one.distinct > 1 || by.includes(one.key)).slice(0, 30);
  const seeds = overSeeds(known);
  const group = (next: string[]) => () => changeView({ group: next });
  if (keys.length === 0) return [{ text: 'No setting differs among these runs', isTitle: true }];
  return [
    { text: 'Mean ± std over runs with the same', isTitle: true },
    ...(seeds
      ? [{ text: 'everything but the seed', isOn: by.join('\n') === seeds.join('\n'), run: group(seeds) }]
      : []),
    ...keys.map(({ key }): MenuItem => ({
      text: key,
      isOn: by.includes(key),
      run: group(by.includes(key) ? by.filter((one) => one !== key) : [...by, key]),
    })),
    ...(by.length
      ? [
          {
            text: 'Charts: a curve for each run',
            keys: 'm',
            isOn: each,
            line: true,
            run: () => changeView({ each: !each }),
          },
          { text: 'No groups', icon: 'close' as const, run: group([]) },
        ]
      : []),
  ];
}

function RunColumns({ known, ids }: { known: Columns | null; ids: readonly string[] }) {
  const put = (columns: string[] | null) => changeView({ columns });
  const isOf = (id: string, metric: string) => parseColumn(id).kind === 'metric' && parseColumn(id).key === metric;
  return (
    <ColumnPicker
      label="Columns of the table"
      known={known}
      ids={ids}
      facts={Object.entries(FACTS).map(([key, { title }]) => ({ id: `fact:${key}`, name: title }))}
      metrics={(known?.metrics ?? []).map(({ key }) => key)}
      metricId={(key) => ids.find((id) => isOf(id, key)) ?? metricColumn(key, 'last')}
      beside={(id) => {
        const { kind, key, of } = parseColumn(id);
        if (kind !== 'metric') return null;
        return (
          <Select
            label={`Which value of ${key}`}
            quiet
            value={of}
            options={OVER_STEPS.map((one) => ({ value: one, text: one }))}
            onChange={(next) => put(ids.map((one) => (one === id ? metricColumn(key, next) : one)))}
          />
        );
      }}
      onChange={put}
    />
  );
}

/** Between table and charts: dragged, or moved by arrows. */
function Divider() {
  const ref = useRef<HTMLDivElement>(null);
  const share = useStore(split);
  const put = (next: number) => split.set(Math.max(0, Math.min(1, next < 0.06 ? 0 : next > 0.94 ? 1 : next)));
  return (
    <div
      ref={ref}
      role="separator"
      tabIndex={0}
      aria-orientation="vertical"
      aria-label="Between table and charts"
      aria-valuenow={Math.round(share * 100)}
      aria-valuemin={0}
      aria-valuemax={100}
      className={css.divider}
      onDoubleClick={() => put(USUAL_SPLIT)}
      onPointerDown={(event) => {
        event.preventDefault();
        const handle = event.currentTarget;
        handle.setPointerCapture(event.pointerId);
        handle.onpointermove = (now) => put(now.clientX / innerWidth);
        handle.onpointerup = () => (handle.onpointermove = handle.onpointerup = null);
      }}
      onKeyDown={(event) => {
        const by = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        put(share + by);
      }}
    />
  );
}
