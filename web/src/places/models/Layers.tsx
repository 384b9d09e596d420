// Every tensor of a checkpoint: its shape, how its values are spread, and how far it moved.
import { useMemo } from 'react';
import type { Schema } from '../../api/types';
import { bytes, count, number } from '../../parts/format';
import { names } from '../../parts/names';
import { VirtualList } from '../../parts/VirtualList';
import { barsPath } from '../../panel/histogram';
import css from './Models.module.css';

interface Props {
  tensors: readonly Schema<'TensorRow'>[];
  statistics: Schema<'WeightStatistics'> | null;
}

export function Layers({ tensors, statistics }: Props) {
  const of = useMemo(() => new Map(statistics?.tensors.map((one) => [one.name, one])), [statistics]);
  const isCompared = statistics?.compared_with != null;
  // The longest bar is the parameter that moved most: a buffer that counts steps moves by hundreds of percent.
  const isLearnt = new Set(tensors.filter((one) => one.kind === 'parameter').map((one) => one.name));
  const moved = (statistics?.tensors ?? []).filter((one) => isLearnt.has(one.name)).map((one) => one.changed ?? 0);
  const most = Math.max(1e-9, ...moved.map((one) => Math.min(1, one)));
  return (
    <div className={css.layers}>
      <div className={css.layerHead}>
        <span>layer</span>
        <span className={css.right}>shape</span>
        <span className={css.right}>size</span>
        <span>{isCompared ? 'moved' : ''}</span>
        <span>values</span>
      </div>
      <VirtualList label="Tensors" className={css.layerBody} count={tensors.length} rowHeight={32}>
        {(at) => {
          const tensor = tensors[at]!;
          return (
            <Layer key={tensor.name} tensor={tensor} its={of.get(tensor.name)} most={most} isCompared={isCompared} />
          );
        }}
      </VirtualList>
    </div>
  );
}

interface LayerProps {
  tensor: Schema<'TensorRow'>;
  its: Schema<'TensorStatistics'> | undefined;
  most: number;
  isCompared: boolean;
}

function Layer({ tensor, its, most, isCompared }: LayerProps) {
  const broken = (its?.nans ?? 0) + (its?.infinities ?? 0);
  const range =
    its && its.lowest !== null && its.highest !== null ? `${number(its.lowest)} … ${number(its.highest)}` : '';
  const facts = its
    ? [
        `mean ${its.mean === null ? '?' : number(its.mean)}`,
        `std ${its.std === null ? '?' : number(its.std)}`,
        range,
        its.zeros ? `${count(its.zeros)} zeros` : '',
        broken ? `${count(its.nans)} NaN, ${count(its.infinities)} infinite` : '',
      ]
    : [];
  return (
    <div className={names(css.layer, broken > 0 && css.brokenLayer)} role="group" aria-label={tensor.name}>
      <span
        className={css.layerName}
        data-tip={`${tensor.name}\n${tensor.kind}, ${tensor.dtype}, ${count(tensor.count)} values${tensor.is_shared ? '\nshares its memory with another one' : ''}`}
      >
        {tensor.name}
        {tensor.kind !== 'parameter' && <i> {tensor.kind}</i>}
        {tensor.is_shared && <i> shared</i>}
      </span>
      <span className={names(css.right, css.mono)}>{tensor.shape.join('×') || 'scalar'}</span>
      <span className={names(css.right, css.soft)}>{bytes(tensor.nbytes)}</span>
      <span className={css.moved}>
        {isCompared && its?.changed === 0 && <span className={css.still}>did not move</span>}
        {isCompared && its && its.changed !== null && its.changed !== 0 && (
          <>
            <span className={css.movedTrack} aria-hidden="true">
              <i style={{ width: `${Math.min(1, its.changed / most) * 100}%` }} />
            </span>
            <span>{its.changed < 0.0005 ? '< 0.1 %' : `${number(Number((its.changed * 100).toPrecision(2)))} %`}</span>
          </>
        )}
        {isCompared && its && its.changed === null && <span className={css.soft}>not there</span>}
      </span>
      <span className={css.spread} data-tip={facts.filter(Boolean).join('\n') || undefined}>
        {broken > 0 && (
          <span className={css.bad} role="img" aria-label={`${broken} values are NaN or infinite`}>
            ⚠
          </span>
        )}
        {its && (
          <svg viewBox="0 0 96 22" preserveAspectRatio="none" role="img" aria-label={`Values from ${range}`}>
            <path d={barsPath(its.counts, 96, 22)} />
          </svg>
        )}
      </span>
    </div>
  );
}
