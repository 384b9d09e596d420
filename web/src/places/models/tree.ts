/** A family tree of runs as rows and layers: a run stands one layer right of its parent, a first child on its parent's
 * row, so that a line of fine-tunings reads as one line. */

export interface TreeNode {
  name: string;
}

export interface TreeEdge {
  parent: string;
  child: string;
}

export interface Placed {
  name: string;
  layer: number;
  row: number;
}

export interface Tree {
  nodes: Placed[];
  layers: number;
  rows: number;
}

/** Where each run stands. Families come in the order of the nodes; an edge that would close a circle counts for nothing. */
export function layTree(nodes: readonly TreeNode[], edges: readonly TreeEdge[]): Tree {
  const children = new Map<string, string[]>();
  const parentOf = new Map<string, string>();
  const known = new Set(nodes.map((node) => node.name));
  for (const { parent, child } of edges) {
    if (!known.has(parent) || !known.has(child) || parentOf.has(child) || leadsTo(parentOf, parent, child)) continue;
    parentOf.set(child, parent);
    children.set(parent, [...(children.get(parent) ?? []), child]);
  }
  const placed: Placed[] = [];
  let rows = 0;
  let layers = 0;
  for (const root of nodes) {
    if (parentOf.has(root.name)) continue;
    const waiting: Omit<Placed, 'row'>[] = [{ name: root.name, layer: 0 }];
    let isNewRow = true;
    while (waiting.length > 0) {
      const { name, layer } = waiting.pop()!;
      if (isNewRow) rows++;
      placed.push({ name, layer, row: rows - 1 });
      layers = Math.max(layers, layer + 1);
      const next = children.get(name) ?? [];
      for (const child of [...next].reverse()) waiting.push({ name: child, layer: layer + 1 });
      isNewRow = next.length === 0;
    }
  }
  return { nodes: placed, layers, rows };
}

function leadsTo(parentOf: Map<string, string>, from: string, to: string): boolean {
  for (let at: string | undefined = from; at !== undefined; at = parentOf.get(at)) if (at === to) return true;
  return false;
}

/** An edge's line: right from the parent, down along a rounded corner, right to the child. */
export function edgePath(fromX: number, fromY: number, toX: number, toY: number): string {
  if (fromY === toY) return `M${fromX} ${fromY}H${toX}`;
  const bend = Math.min(10, Math.abs(toY - fromY) / 2, (toX - fromX) / 2);
  const turn = fromX + bend + 6;
  const down = toY > fromY ? bend : -bend;
  return `M${fromX} ${fromY}H${turn - bend}Q${turn} ${fromY} ${turn} ${fromY + down}V${toY - down}Q${turn} ${toY} ${turn + bend} ${toY}H${toX}`;
}
