// The family tree: each run right of the one that it began from, with what was changed and what that gained on the way.
import { useMemo, useRef, useState } from 'react';
import type { Columns, Schema, Value } from '../../api/types';
import { useStore } from '../../api/store';
import { useGet } from '../../api/use';
import { actionsDone } from '../../app/actions';
import { useRows } from '../../app/rows';
import { useSelection } from '../../app/selection';
import { useParam } from '../../app/url';
import { openNewRun, openRun } from '../../app/view';
import { Empty } from '../../parts/Empty';
import { Select } from '../../parts/Field';
import { number, value } from '../../parts/format';
import { showMenu } from '../../parts/Menu';
import { names } from '../../parts/names';
import { RunMark } from '../../parts/RunMark';
import { StateWord } from '../../parts/StateWord';
import css from './Family.module.css';
import { type Placed, edgePath, layTree } from './tree';

const NODE = 188;
const LAYER = 430;
const ROW = 62;
const HIGH = 40;
const EDGE = 24;
const MOST_MARKED = 500;

export function Family({ model, onModel }: { model: string | null; onModel: (reference: string | null) => void }) {
  const [target, setTarget] = useParam('target');
  const turn = useStore(actionsDone);
  const columns = useGet<Columns>('/api/runs/columns');
  const metrics = columns.answer?.metrics ?? [];
  const metric =
    target ??
    metrics.find((one) => /val|test|eval/.test(one.key) && one.direction)?.key ??
    metrics.find((one) => one.direction)?.key ??
    '';
  const { answer, refusal } = useGet<Schema<'Lineage'>>(columns.answer ? '/api/lineage' : null, {
    metric,
    turn: turn || null,
  });
  const tree = useMemo(() => (answer ? layTree(answer.nodes, answer.edges) : null), [answer]);
  const selection = useSelection();
  const selected = useMemo(() => new Set(selection.isDefault ? [] : selection.names), [selection]);
  // A run's colour and mark are those of the table, wherever it is seen.
  const shownNames = useMemo(() => (answer?.nodes ?? []).slice(0, MOST_MARKED).map((one) => one.name), [answer]);
  const marked = useRows(shownNames);
  const rowOf = useMemo(() => new Map(marked.map((row) => [row.name, row])), [marked]);
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  if (refusal) return <p className={css.problem}>{refusal.message}</p>;
  if (!answer || !tree) return null;
  if (answer.edges.length === 0) {
    return (
      <Empty
        title="No run has begun from another one yet"
        text="Start one from the weights of another: the ▲ on a curve, W on a run, or from a terminal:"
        command="hypertuner run train.py lr=1e-4 --from RUN@best"
      />
    );
  }
  const placeOf = new Map(tree.nodes.map((one) => [one.name, one]));
  const nodeOf = new Map(answer.nodes.map((one) => [one.name, one]));
  const [firstRow, lastRow] = [top / ROW - 12, (top + 1200) / ROW + 12];
  const isSeen = (one: Placed | undefined) => one !== undefined && one.row >= firstRow && one.row <= lastRow;
  const x = (one: Placed) => EDGE + one.layer * LAYER;
  const y = (one: Placed) => EDGE + one.row * ROW + HIGH / 2;
  const edges = answer.edges.filter((edge) => isSeen(placeOf.get(edge.child)) || isSeen(placeOf.get(edge.parent)));
  return (
    <>
      <div className={css.treeBar}>
        <Select
          label="Gain in"
          quiet
          value={metric}
          options={[{ value: '', text: 'no metric' }, ...metrics.map((one) => ({ value: one.key, text: one.key }))]}
          onChange={(next) => setTarget(next || null, true)}
        />
        <span className={css.soft}>on the lines: what was changed, and what that gained</span>
      </div>
      <div
        ref={box}
        className={css.tree}
        tabIndex={0}
        role="region"
        aria-label="Family tree"
        onScroll={(event) => setTop(Math.round(event.currentTarget.scrollTop / 200) * 200)}
      >
        <div
          style={{
            position: 'relative',
            width: EDGE * 2 + (tree.layers - 1) * LAYER + NODE,
            height: EDGE * 2 + tree.rows * ROW,
          }}
        >
          <svg className={css.edges} width="100%" height="100%" aria-hidden="true">
            {edges.map((edge) => {
              const [from, to] = [placeOf.get(edge.parent), placeOf.get(edge.child)];
              if (!from || !to) return null;
              return (
                <path
                  key={edge.child}
                  d={edgePath(x(from) + NODE, y(from), x(to), y(to))}
                  className={edge.how === 'fork' ? css.forked : undefined}
                />
              );
            })}
          </svg>
          {edges.map((edge) => {
            const to = placeOf.get(edge.child);
            return to && <EdgeSays key={edge.child} edge={edge} left={x(to) - (LAYER - NODE) + 22} top={y(to)} />;
          })}
          {tree.nodes.filter(isSeen).map((one) => {
            const node = nodeOf.get(one.name)!;
            return (
              <button
                key={one.name}
                type="button"
                className={names(
                  css.node,
                  node.is_gone && css.gone,
                  selected.has(one.name) && css.selected,
                  model?.startsWith(`${one.name}@`) && css.chosenNode,
                )}
                style={{ left: x(one), top: y(one) - HIGH / 2, width: NODE, height: HIGH }}
                disabled={node.is_gone}
                onClick={() => onModel(`${one.name}@model`)}
                onDoubleClick={() => openRun(one.name)}
                onContextMenu={(event) => {
                  event.preventDefault();
                  showMenu(event, one.name, [
                    { text: 'Open the run', icon: 'right', run: () => openRun(one.name) },
                    {
                      text: 'New run from its weights',
                      icon: 'weights',
                      run: () => openNewRun({ run: one.name, parent: `${one.name}@best` }),
                    },
                    { text: 'Duplicate', icon: 'copy', run: () => openNewRun({ run: one.name }) },
                  ]);
                }}
              >
                <RunMark
                  colour={rowOf.get(one.name)?.colour ?? node.colour}
                  mark={rowOf.get(one.name)?.mark ?? node.mark}
                />
                <span className={css.nodeName}>{one.name}</span>
                <span className={css.nodeValue}>
                  {node.is_gone ? (
                    'gone'
                  ) : node.metric === null ? (
                    <StateWord state={node.state} short />
                  ) : (
                    number(node.metric)
                  )}
                </span>
              </button>
            );
          })}
        </div>
      </div>
    </>
  );
}

/** On the line that leads to a child: what was changed, what that gained, and of which step it began. */
function EdgeSays({ edge, left, top }: { edge: Schema<'LineageEdge'>; left: number; top: number }) {
  const changed = Object.entries(edge.changed);
  const said = changed.map(([key, [before, after]]) => `${key} ${value(before as Value)} → ${value(after as Value)}`);
  const how = edge.how === 'fork' ? 'fork' : 'weights';
  return (
    <div
      className={css.edgeSays}
      style={{ left, top: top - 19, width: LAYER - NODE - 30 }}
      data-tip={[`${how} at step ${edge.step ?? '?'}`, ...said].join('\n')}
    >
      <span className={css.changedWord}>{said.length ? said[0] : 'nothing changed'}</span>
      <span className={css.below}>
        {said.length > 1 && <span>+{said.length - 1} more</span>}
        {edge.gain !== null && (
          <b className={edge.gain > 0 ? css.better : edge.gain < 0 ? css.worse : undefined}>
            {edge.gain > 0 ? '▲ better by ' : edge.gain < 0 ? '▼ worse by ' : '= '}
            {number(Math.abs(edge.gain))}
          </b>
        )}
      </span>
    </div>
  );
}
