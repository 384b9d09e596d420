// The virtual grid: real DOM rows with the roles of a grid, of which only those in view are in the page; one focus that
// the keyboard moves; what rows are is the caller's business.
import {
  type CSSProperties,
  type KeyboardEvent,
  type MouseEvent,
  type ReactNode,
  type Ref,
  memo,
  useCallback,
  useEffect,
  useImperativeHandle,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from 'react';
import css from './Grid.module.css';
import { fitted } from './fit';
import { inView, scrollFor } from './inView';

export interface GridColumn {
  id: string;
  title: string;
  /** Said when one points at the title. */
  tip?: string;
  width: number;
  isNumber?: boolean;
  /** Stays at the left while the others scroll. */
  isFixed?: boolean;
  sort?: 'ascending' | 'descending' | 'none';
  /** Instead of the title. */
  head?: ReactNode;
}

export interface GridHandle {
  show(index: number): void;
  focus(): void;
}

export interface GridProps<Row> {
  label: string;
  columns: readonly GridColumn[];
  count: number;
  rowHeight?: number;
  rowAt: (index: number) => Row | null;
  keyOf: (row: Row) => string;
  cell: (row: Row, column: string, index: number) => ReactNode;
  rowClass?: (row: Row) => string | undefined;
  isChosen: (row: Row) => boolean;
  cursor: number;
  onCursor: (index: number) => void;
  onRange: (first: number, last: number) => void;
  onSort: (column: string) => void;
  onColumnMenu?: (column: string, event: MouseEvent) => void;
  onRowClick: (row: Row, index: number, event: MouseEvent) => void;
  onRowOpen: (row: Row, index: number) => void;
  onRowMenu?: (row: Row, index: number, event: MouseEvent) => void;
  onRowHover?: (row: Row | null) => void;
  /** Keys of the row that has the focus; true: it was taken. */
  onRowKey?: (row: Row, index: number, event: KeyboardEvent) => boolean;
  onWidth?: (column: string, width: number) => void;
  /** Another number: rows have changed. */
  version: number;
  handle?: Ref<GridHandle>;
  children?: ReactNode;
}

const ROW_PX = 28;

const seenOf = (box: HTMLElement) => ({ top: box.scrollTop, height: box.clientHeight, width: box.clientWidth });

export function Grid<Row>(props: GridProps<Row>) {
  const { label, count, rowHeight = ROW_PX, cursor, onCursor, onRange, onSort, rowAt, handle } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 0, width: 0 });
  const columns = useMemo(() => fitted(props.columns, view.width), [props.columns, view.width]);
  const height = Math.max(0, view.height - rowHeight);
  const { first, last, top, height: full, scale } = inView(count, rowHeight, view.top, height);

  useLayoutEffect(() => {
    const box = scroller.current!;
    const measure = () => setView(seenOf(box));
    const sized = new ResizeObserver(measure);
    sized.observe(box);
    measure();
    return () => sized.disconnect();
  }, []);
  useEffect(() => {
    if (height > 0) onRange(first, last);
  }, [first, last, height, onRange, props.version]);

  const show = useCallback(
    (index: number) => {
      const box = scroller.current!;
      box.scrollTop = scrollFor(index, rowHeight, box.scrollTop, box.clientHeight - rowHeight, scale);
    },
    [rowHeight, scale],
  );
  useImperativeHandle(handle, () => ({ show, focus: () => scroller.current?.focus() }), [show]);

  const template = columns.map((column) => `${column.width}px`).join(' ');
  const width = columns.reduce((sum, column) => sum + column.width, 0);
  const offsets = fixedOffsets(columns);
  const move = (to: number) => {
    const next = Math.max(0, Math.min(count - 1, to));
    onCursor(next);
    show(next);
  };
  const pressed = (event: KeyboardEvent) => {
    if (event.target !== scroller.current) return;
    const page = Math.max(1, Math.floor(height / rowHeight) - 1);
    const to = {
      ArrowDown: cursor + 1,
      ArrowUp: cursor - 1,
      PageDown: cursor + page,
      PageUp: cursor - page,
      Home: 0,
      End: count - 1,
    }[event.key];
    const row = cursor >= 0 && cursor < count ? rowAt(cursor) : null;
    if (row && props.onRowKey?.(row, cursor, event)) event.preventDefault();
    else if (to !== undefined && !event.metaKey && !event.altKey) {
      event.preventDefault();
      move(to);
    } else if (event.key === 'Enter' && row) {
      event.preventDefault();
      props.onRowOpen(row, cursor);
    }
  };

  return (
    <div
      ref={scroller}
      role="grid"
      aria-label={label}
      aria-rowcount={count + 1}
      aria-colcount={columns.length}
      aria-multiselectable="true"
      aria-activedescendant={cursor >= first && cursor < last ? `row-${cursor}` : undefined}
      tabIndex={0}
      className={css.grid}
      onScroll={(event) => setView(seenOf(event.currentTarget))}
      onKeyDown={pressed}
      onPointerLeave={() => props.onRowHover?.(null)}
    >
      <div role="row" aria-rowindex={1} className={css.head} style={{ gridTemplateColumns: template, minWidth: width }}>
        {columns.map((column, at) => (
          <div
            key={column.id}
            role="columnheader"
            aria-colindex={at + 1}
            aria-sort={column.sort}
            className={cellClass(column)}
            style={offsets[at]}
            onContextMenu={(event) => props.onColumnMenu?.(column.id, event)}
          >
            {column.head ?? (
              <button
                type="button"
                tabIndex={-1}
                disabled={column.sort === undefined}
                data-tip={column.tip}
                onClick={() => onSort(column.id)}
              >
                <span>{column.title}</span>
                {column.sort !== undefined && column.sort !== 'none' && (
                  <i aria-hidden="true">{column.sort === 'ascending' ? '↑' : '↓'}</i>
                )}
              </button>
            )}
            {props.onWidth && !column.head && <Resizer column={column} onWidth={props.onWidth} />}
          </div>
        ))}
      </div>
      <div role="presentation" style={{ height: full, minWidth: width, position: 'relative' }}>
        <div role="presentation" className={css.rows} style={{ top }}>
          {Array.from({ length: last - first }, (_, i) => {
            const index = first + i;
            const row = rowAt(index);
            return row === null ? (
              <div
                key={`empty ${index}`}
                role="row"
                aria-rowindex={index + 2}
                className={css.loading}
                style={{ height: rowHeight }}
              />
            ) : (
              <GridRow
                key={props.keyOf(row)}
                {...props}
                row={row}
                index={index}
                template={template}
                offsets={offsets}
                rowHeight={rowHeight}
                isCursor={index === cursor}
              />
            );
          })}
        </div>
      </div>
      {props.children}
    </div>
  );
}

interface GridRowProps<Row> extends GridProps<Row> {
  row: Row;
  index: number;
  template: string;
  offsets: (CSSProperties | undefined)[];
  rowHeight: number;
  isCursor: boolean;
}

function DrawnRow<Row>(props: GridRowProps<Row>) {
  const { row, index, columns, template, offsets, rowHeight, isCursor } = props;
  const isChosen = props.isChosen(row);
  return (
    <div
      id={`row-${index}`}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={isChosen}
      className={[css.row, isChosen && css.chosen, isCursor && css.cursor, props.rowClass?.(row)]
        .filter(Boolean)
        .join(' ')}
      style={{ gridTemplateColumns: template, height: rowHeight }}
      onClick={(event) => {
        props.onCursor(index);
        props.onRowClick(row, index, event);
      }}
      onDoubleClick={() => props.onRowOpen(row, index)}
      onContextMenu={(event) => {
        props.onCursor(index);
        props.onRowMenu?.(row, index, event);
      }}
      onPointerEnter={() => props.onRowHover?.(row)}
    >
      {columns.map((column, at) => (
        <div key={column.id} role="gridcell" aria-colindex={at + 1} className={cellClass(column)} style={offsets[at]}>
          {props.cell(row, column.id, index)}
        </div>
      ))}
    </div>
  );
}

const GridRow = memo(DrawnRow) as typeof DrawnRow;

function Resizer({ column, onWidth }: { column: GridColumn; onWidth: (column: string, width: number) => void }) {
  return (
    <div
      aria-hidden="true"
      className={css.resizer}
      onPointerDown={(event) => {
        event.preventDefault();
        const began = event.clientX;
        const handle = event.currentTarget;
        handle.setPointerCapture(event.pointerId);
        handle.onpointermove = (now) => onWidth(column.id, Math.max(40, column.width + now.clientX - began));
        handle.onpointerup = () => (handle.onpointermove = handle.onpointerup = null);
      }}
    />
  );
}

function cellClass(column: GridColumn): string {
  return [css.cell, column.isNumber && css.number, column.isFixed && css.fixed].filter(Boolean).join(' ');
}

/** Where the columns that stay stand. */
function fixedOffsets(columns: readonly GridColumn[]): (CSSProperties | undefined)[] {
  let left = 0;
  return columns.map((column) => {
    if (!column.isFixed) return undefined;
    const style = { left };
    left += column.width;
    return style;
  });
}
