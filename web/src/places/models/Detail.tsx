// One checkpoint, whole: what it is, what can be done with it, and every tensor of it.
import { useMemo, useState } from 'react';
import type { Schema, Value } from '../../api/types';
import { useGet } from '../../api/use';
import { act } from '../../app/actions';
import { openNewRun, openRun } from '../../app/view';
import { useRows } from '../../app/rows';
import { useKeys } from '../../app/keys';
import { Button, IconButton } from '../../parts/Button';
import { Copy } from '../../parts/Copy';
import { Empty } from '../../parts/Empty';
import { bytes, count, number, value } from '../../parts/format';
import { showMenu } from '../../parts/Menu';
import { RunMark } from '../../parts/RunMark';
import { Layers } from './Layers';
import css from './Models.module.css';
import { exportItems, pathOf } from './doing';

/** Weights larger than this are read when one asks for it. */
const READ_AT_ONCE = 2e9;

export function Detail({ reference, onClose }: { reference: string; onClose: () => void }) {
  const { answer, refusal } = useGet<Schema<'CheckpointDetail'>>(pathOf(reference));
  useKeys('checkpoint', { close: onClose });
  return (
    <aside className={css.detail} aria-label={`Checkpoint ${reference}`}>
      {answer ? (
        <Whole detail={answer} onClose={onClose} />
      ) : (
        refusal && (
          <Empty title="This checkpoint cannot be read" text={refusal.message}>
            <Button onClick={onClose}>Close</Button>
          </Empty>
        )
      )}
    </aside>
  );
}

function Whole({ detail, onClose }: { detail: Schema<'CheckpointDetail'>; onClose: () => void }) {
  const { row, tensors } = detail;
  const run = useGet<Schema<'RunDetail'>>(`/api/runs/${encodeURIComponent(row.run)}`);
  const names = useMemo(() => [row.run], [row.run]);
  const of = useRows(names)[0];
  const others = (run.answer?.checkpoints ?? []).map((one) => one.reference).filter((one) => one !== row.reference);
  const [chosen, setChosen] = useState<string | null>(null);
  const against = chosen ?? run.answer?.parent ?? others[0] ?? '';
  const [isWanted, setWanted] = useState(row.nbytes <= READ_AT_ONCE);
  const statistics = useGet<Schema<'WeightStatistics'>>(
    isWanted && run.answer ? `${pathOf(row.reference)}/statistics` : null,
    { against },
  );
  const dtypes = [...new Set(tensors.map((one) => one.dtype))];
  const from = () => openNewRun({ run: row.run, parent: row.reference });
  useKeys('weights', { start: from });
  const read = statistics.answer;
  const settings = Object.entries(detail.config);
  return (
    <>
      <header className={css.detailHead}>
        {of && <RunMark colour={of.colour} mark={of.mark} />}
        <button type="button" className={css.open} onClick={() => openRun(row.run)}>
          {row.run}
        </button>
        <span className={css.at}>@ {count(row.step)}</span>
        <span className={css.roles}>
          {row.is_best && <b>best</b>}
          {row.is_last && <span>last</span>}
        </span>
        <span className={css.grow} />
        <IconButton
          icon="pin"
          label={row.is_pinned ? 'Unpin: cleaning may remove it' : 'Pin: cleaning never removes it'}
          isOn={row.is_pinned}
          onClick={() => void act(row.is_pinned ? 'unpin' : 'pin', [], { references: [row.reference] })}
        />
        <IconButton icon="close" label="Close" keys="Escape" onClick={onClose} />
      </header>
      <div className={css.detailTop}>
        <p className={css.soft}>
          {[
            detail.model_class?.endsWith('OrderedDict') ? null : detail.model_class,
            `${short(detail.parameters)} parameters`,
            bytes(row.nbytes),
            dtypes.slice(0, 3).join(', '),
            row.has_training ? 'with training state' : 'weights only',
          ]
            .filter(Boolean)
            .join(' · ')}
        </p>
        <div className={css.metrics}>
          {Object.entries(row.metrics)
            .slice(0, 6)
            .map(([metric, given]) => (
              <span key={metric}>
                <span className={css.soft}>{metric}</span> <b>{value(given as Value)}</b>
              </span>
            ))}
        </div>
        <div className={css.buttons}>
          <Button kind="primary" size="small" icon="weights" keys="w" onClick={from}>
            New run from these
          </Button>
          {run.answer?.can_resume && row.has_training && row.is_last && (
            <Button size="small" icon="play" tip="The same run goes on" onClick={() => void act('resume', [row.run])}>
              Resume
            </Button>
          )}
          <Button
            size="small"
            icon="download"
            onClick={(event) => showMenu(event.currentTarget, 'Export', exportItems(row.reference))}
          >
            Export
          </Button>
          <span className={css.grow} />
          <span className={detail.trust.is_trusted ? css.trusted : css.untrusted} data-tip={detail.trust.message}>
            {detail.trust.is_trusted ? '✓ trusted' : '⚠ not trusted'}
          </span>
        </div>
        {!detail.trust.is_trusted && <p className={css.warn}>{detail.trust.message}</p>}
        <div className={css.code}>
          <pre tabIndex={0}>{detail.load_code}</pre>
          <Copy text={detail.load_code} label="Copy load code" />
        </div>
        <details>
          <summary>
            Config{' '}
            <span className={css.soft}>
              {settings
                .slice(0, 4)
                .map(([key, given]) => `${key}=${value(given as Value)}`)
                .join('  ')}
            </span>
          </summary>
          <dl className={css.settings}>
            {settings.map(([key, given]) => (
              <div key={key}>
                <dt>{key}</dt>
                <dd>{value(given as Value)}</dd>
              </div>
            ))}
          </dl>
        </details>
      </div>
      <div className={css.compare}>
        <label>
          <span className={css.soft}>Change against</span>
          <input
            list="others"
            value={against}
            spellCheck={false}
            placeholder="run@step"
            onChange={(event) => setChosen(event.target.value.trim())}
            onFocus={(event) => event.target.select()}
          />
        </label>
        <datalist id="others">
          {[run.answer?.parent, ...others]
            .filter((one) => one)
            .map((one) => (
              <option key={one} value={one!} />
            ))}
        </datalist>
        <span className={css.grow} />
        <span role="status" className={read && read.nans + read.infinities > 0 ? css.bad : css.soft}>
          {!isWanted
            ? ''
            : statistics.refusal
              ? ''
              : !read
                ? 'reading the weights…'
                : read.nans + read.infinities === 0
                  ? 'no NaN, no infinity'
                  : `⚠ ${count(read.nans)} NaN, ${count(read.infinities)} infinite`}
        </span>
        {!isWanted && (
          <Button size="small" onClick={() => setWanted(true)}>
            Read the weights ({bytes(row.nbytes)})
          </Button>
        )}
      </div>
      {(statistics.refusal ?? null) && <p className={css.problem}>{statistics.refusal?.message}</p>}
      {read?.problem && <p className={css.problem}>{read.problem}</p>}
      <Layers tensors={tensors} statistics={read} />
    </>
  );
}

/** 21.3M */
function short(parameters: number): string {
  for (const [unit, name] of [
    [1e9, 'B'],
    [1e6, 'M'],
    [1e3, 'k'],
  ] as const) {
    if (parameters >= unit) return `${number(Number((parameters / unit).toPrecision(3)))}${name}`;
  }
  return count(parameters);
}
