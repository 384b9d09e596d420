// The table of runs: what is checked is in the charts; a name opens its run; the right button has what can be done.
import { type KeyboardEvent, type MouseEvent, useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { useStore } from '../../api/store';
import type { Columns, RunRow } from '../../api/types';
import { useKeys } from '../../app/keys';
import { useRows } from '../../app/rows';
import { MOST_SHOWN, hotRun, select, useSelection, withRuns } from '../../app/selection';
import { changeView, openNewRun, openRun, useView } from '../../app/view';
import { kept } from '../../app/kept';
import { showMenu } from '../../parts/Menu';
import { Grid, type GridColumn, type GridHandle } from '../../table/Grid';
import { Cell, NameCell } from './Cell';
import css from './Runs.module.css';
import { columnsOf } from './columns';
import { pins, togglePin } from './pins';
import { runMenu } from './runMenu';
import type { Table } from './useTable';

const widths = kept<Record<string, number>>('widths', {});

export function RunsTable({ table, known, ids }: { table: Table; known: Columns | null; ids: readonly string[] }) {
  const [view] = useView('query', 'sort', 'descending');
  const selection = useSelection();
  const pinned = useRows(useStore(pins));
  const wide = useStore(widths);
  const [cursor, setCursor] = useState(0);
  const anchor = useRef(0);
  const grid = useRef<GridHandle>(null);
  const chosen = useMemo(() => new Set(selection.names), [selection.names]);
  const columns = useMemo(() => columnsOf(ids, known), [ids, known]);
  const order = `${view.sort} ${view.descending} ${view.query}`;
  const [orderBefore, setOrderBefore] = useState(order);
  if (orderBefore !== order) {
    setOrderBefore(order);
    setCursor(0);
  }
  useEffect(() => {
    anchor.current = 0;
    grid.current?.show(0);
  }, [order]);

  const { at, version } = table;
  const rowAt = useCallback((index: number) => pinned[index] ?? at(index - pinned.length), [pinned, at]);
  const count = (table.matched ?? 0) + pinned.length;
  const { want } = table;
  const range = useCallback(
    (first: number, last: number) => want(Math.max(0, first - pinned.length), last),
    [want, pinned.length],
  );

  const { held } = table;
  const all = held();
  const isAll = selection.isEvery || (all.length > 0 && all.slice(0, MOST_SHOWN).every((row) => chosen.has(row.name)));
  const { matched } = table;
  // A few are named, so that one of them can be taken out again.
  const selectAll = useCallback(
    () => select((matched ?? 0) > MOST_SHOWN ? 'every' : held().map((row) => row.name)),
    [matched, held],
  );
  const toggle = useCallback(
    (names: readonly string[], isIn: boolean) => select(withRuns(selection, names, isIn)),
    [selection],
  );
  const between = (from: number, to: number) => {
    const [low, high] = from < to ? [from, to] : [to, from];
    return Array.from({ length: high - low + 1 }, (_, i) => rowAt(low + i)?.name).filter((name) => name !== undefined);
  };
  const clicked = (row: RunRow, index: number, event: MouseEvent) => {
    if (event.shiftKey) select(between(anchor.current, index));
    else {
      anchor.current = index;
      if (event.metaKey || event.ctrlKey) toggle([row.name], !chosen.has(row.name));
    }
  };
  const current = () => rowAt(cursor);
  const moved = (by: number) => {
    const next = Math.max(0, Math.min(count - 1, cursor + by));
    setCursor(next);
    anchor.current = next;
    grid.current?.show(next);
    grid.current?.focus();
  };
  const withCurrent = (does: (row: RunRow) => void) => () => {
    const row = current();
    if (row) does(row);
  };
  useKeys('table', {
    next: () => moved(1),
    previous: () => moved(-1),
    open: withCurrent((row) => openRun(row.name)),
    select: withCurrent((row) => toggle([row.name], !chosen.has(row.name))),
    only: withCurrent((row) => select(selection.names.length === 1 && chosen.has(row.name) ? null : [row.name])),
    hide: withCurrent((row) => toggle([row.name], false)),
    pin: withCurrent((row) => togglePin(row.name)),
    duplicate: withCurrent((row) => openNewRun({ run: row.name })),
    fromWeights: withCurrent((row) => openNewRun({ run: row.name, parent: row.name })),
    all: selectAll,
  });

  const shown = useMemo<GridColumn[]>(() => {
    const sorted = view.sort === '' ? 'created' : view.sort;
    const direction: 'ascending' | 'descending' =
      view.descending === null
        ? usualDescending(sorted, known)
          ? 'descending'
          : 'ascending'
        : view.descending
          ? 'descending'
          : 'ascending';
    return [
      { id: 'check', title: '', width: 34, isFixed: true },
      {
        id: 'name',
        title: 'name',
        width: wide['name'] ?? 158,
        isFixed: true,
        sort: sorted === 'name' ? direction : 'none',
      },
      ...columns.map((column): GridColumn => {
        const { id, title, tip, isNumber } = column;
        const sort: Pick<GridColumn, 'sort'> =
          column.sort === null ? {} : { sort: column.sort === sorted ? direction : 'none' };
        return { id, title, tip, isNumber, width: wide[id] ?? column.width, ...sort };
      }),
    ];
  }, [columns, view.sort, view.descending, wide, known]);
  const withHead = useMemo(
    () =>
      shown.map((column) =>
        column.id === 'check'
          ? {
              ...column,
              head: (
                <input
                  type="checkbox"
                  className={css.checkAll}
                  aria-label={isAll ? 'Select none' : 'Select all'}
                  checked={isAll}
                  onChange={() => (isAll ? select([]) : selectAll())}
                />
              ),
            }
          : column,
      ),
    [shown, isAll, selectAll],
  );

  const sortBy = (id: string) => {
    const name = id === 'name' ? 'name' : columns.find((column) => column.id === id)?.sort;
    if (!name) return;
    const isSame = (view.sort || 'created') === name;
    const usual = usualDescending(name, known);
    const now = view.descending ?? usual;
    changeView({ sort: name, descending: isSame ? !now : null });
  };
  const columnMenu = (id: string, event: MouseEvent) => {
    const column = columns.find((one) => one.id === id);
    if (!column) return;
    event.preventDefault();
    const others = ids.filter((one) => one !== id);
    const place = ids.indexOf(id);
    const put = (next: string[]) => changeView({ columns: next });
    showMenu(event, column.title, [
      {
        text: 'Sort ascending',
        icon: 'up',
        disabled: column.sort ? null : 'It has no order',
        run: () => changeView({ sort: column.sort ?? '', descending: false }),
      },
      {
        text: 'Sort descending',
        icon: 'down',
        disabled: column.sort ? null : 'It has no order',
        run: () => changeView({ sort: column.sort ?? '', descending: true }),
      },
      {
        text: 'Move left',
        icon: 'left',
        line: true,
        disabled: place > 0 ? null : 'It is the first',
        run: () => put(others.toSpliced(place - 1, 0, id)),
      },
      {
        text: 'Move right',
        icon: 'right',
        disabled: place < ids.length - 1 ? null : 'It is the last',
        run: () => put(others.toSpliced(place + 1, 0, id)),
      },
      ...(id.startsWith('config:')
        ? [
            {
              text: `Group by ${column.title}`,
              icon: 'group' as const,
              run: () => changeView({ group: [id.slice(7)] }),
            },
          ]
        : []),
      { text: 'Hide the column', icon: 'close', line: true, run: () => put(others) },
    ]);
  };

  return (
    <Grid<RunRow>
      label="Runs"
      handle={grid}
      columns={withHead}
      count={count}
      version={version}
      rowAt={rowAt}
      keyOf={(row) => row.name}
      isChosen={(row) => chosen.has(row.name)}
      rowClass={(row) => (row.state === 'failed' || row.state === 'crashed' ? css.failed : undefined)}
      cursor={cursor}
      onCursor={setCursor}
      onRange={range}
      onSort={sortBy}
      onColumnMenu={columnMenu}
      onWidth={(id, width) => widths.set((before) => ({ ...before, [id]: width }))}
      onRowClick={clicked}
      onRowOpen={(row) => openRun(row.name)}
      onRowMenu={(row, _, event) => {
        event.preventDefault();
        showMenu(event, row.name, runMenu(row, select));
      }}
      onRowHover={(row) => hotRun.set(row && chosen.has(row.name) ? row.name : null)}
      onRowKey={(row, index, event: KeyboardEvent) => {
        if (event.shiftKey && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
          const next = Math.max(0, Math.min(count - 1, index + (event.key === 'ArrowDown' ? 1 : -1)));
          setCursor(next);
          grid.current?.show(next);
          select(between(anchor.current, next));
          return true;
        }
        if (event.key === 'ContextMenu' || (event.shiftKey && event.key === 'F10')) {
          const box = document.getElementById(`row-${index}`);
          if (box) showMenu(box, row.name, runMenu(row, select));
          return true;
        }
        return false;
      }}
      cell={(row, column, index) => {
        if (column === 'check')
          return (
            <input
              type="checkbox"
              tabIndex={-1}
              className={css.check}
              aria-label={`Show ${row.name} in the charts`}
              checked={chosen.has(row.name)}
              onClick={(event) => event.stopPropagation()}
              onChange={(event) => {
                const isIn = event.target.checked;
                const isRange = (event.nativeEvent as unknown as MouseEvent).shiftKey;
                toggle(isRange ? between(anchor.current, index) : [row.name], isIn);
                anchor.current = index;
                setCursor(index);
              }}
            />
          );
        if (column === 'name')
          return (
            <NameCell
              row={row}
              isShown={chosen.has(row.name)}
              isPinned={index < pinned.length}
              onOpen={() => openRun(row.name)}
            />
          );
        return <Cell row={row} column={column} />;
      }}
    />
  );
}

/** Which way a name is sorted where nobody says: the best, the newest, the longest first. */
function usualDescending(sort: string, known: Columns | null): boolean {
  const metric = known?.metrics.find((one) => one.name === sort || sort.endsWith(`(${one.name})`));
  if (metric) return metric.direction === 'max';
  return ['created', 'duration', 'step', 'size', 'checkpoints', 'starred'].includes(sort);
}
