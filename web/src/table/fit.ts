/** Widths of columns in the room that there is. */

interface Wide {
  width: number;
  isFixed?: boolean;
}

/** No column is cut by the edge: where not all have room, what the whole ones leave free goes to the one that stays, as the
 * name does, else to the first that is wide; the others come by scrolling. */
export function fitted<Column extends Wide>(columns: readonly Column[], room: number): readonly Column[] {
  let used = 0;
  let whole = 0;
  for (const { width } of columns) {
    if (used + width > room) break;
    used += width;
    whole += 1;
  }
  const fixed = columns.findLastIndex((column) => column.isFixed);
  const taking = fixed >= 0 ? fixed : columns.findIndex((column) => column.width >= LEAST_TAKING);
  if (whole === columns.length || taking < 0 || whole <= taking + 1) return columns;
  return columns.map((column, at) => (at === taking ? { ...column, width: column.width + room - used } : column));
}

const LEAST_TAKING = 50;
