// The machine over the last ten minutes, in small strips of one scale.
import { useEffect, useState } from 'react';
import type { MachineSample, Schema } from '../../api/types';
import { get } from '../../api/ask';
import { complain } from '../../app/actions';
import { live } from '../../live/live';
import { bytes, percent } from '../../parts/format';
import { names } from '../../parts/names';
import css from './Queue.module.css';
import { WINDOW_S, areaPaths } from './strip';

export function Machine() {
  const { host, samples } = useMachine();
  const last = samples[samples.length - 1];
  if (!last) return <aside className={css.machine} aria-label="Machine" />;
  const now = last.time;
  const mean = (sample: MachineSample) =>
    sample.cpu.reduce((sum, share) => sum + share, 0) / Math.max(1, sample.cpu.length);
  const strip = (share: (sample: MachineSample) => number | null) =>
    samples.map((sample) => ({ time: sample.time, share: share(sample) }));
  const diskUsed = 1 - last.disk_free_bytes / Math.max(1, last.disk_bytes);
  return (
    <aside className={css.machine} aria-label="Machine">
      <h2>
        {host} <span className={css.soft}>last ten minutes</span>
      </h2>
      <Strip name="CPU" said={percent(mean(last))} detail={`${last.cpu.length} cores`} samples={strip(mean)} now={now}>
        <div className={css.cores} aria-hidden="true">
          {last.cpu.map((share, core) => (
            <span key={core} data-tip={`core ${core}: ${percent(share)}`}>
              <i style={{ height: `${Math.max(4, share * 100)}%` }} />
            </span>
          ))}
        </div>
      </Strip>
      <Strip
        name="Memory"
        said={`${bytes(last.memory_used_bytes)} of ${bytes(last.memory_bytes)}`}
        samples={strip((one) => one.memory_used_bytes / Math.max(1, one.memory_bytes))}
        now={now}
      />
      {last.gpus.map((gpu, at) => {
        const memory =
          gpu.memory_used_bytes === null || !gpu.memory_bytes ? null : gpu.memory_used_bytes / gpu.memory_bytes;
        const facts = [
          gpu.temperature_c === null ? null : `${Math.round(gpu.temperature_c)} °C`,
          gpu.power_w === null ? null : `${Math.round(gpu.power_w)} W`,
        ];
        return (
          <div key={gpu.id} className={css.gpu}>
            <Strip
              name={`GPU ${gpu.id}`}
              said={gpu.used_share === null ? '' : percent(gpu.used_share)}
              detail={[gpu.name, ...facts].filter(Boolean).join(' · ')}
              samples={strip((one) => one.gpus[at]?.used_share ?? null)}
              now={now}
            />
            {memory !== null && (
              <Strip
                name="its memory"
                said={`${bytes(gpu.memory_used_bytes!)} of ${bytes(gpu.memory_bytes!)}`}
                samples={strip((one) => {
                  const its = one.gpus[at];
                  return its?.memory_used_bytes && its.memory_bytes ? its.memory_used_bytes / its.memory_bytes : null;
                })}
                now={now}
              />
            )}
          </div>
        );
      })}
      <div className={css.strip}>
        <div className={css.stripTop}>
          <span>Disk</span>
          <span className={names(css.said, diskUsed > 0.95 && css.warn)}>{bytes(last.disk_free_bytes)} free</span>
        </div>
        <div className={css.track}>
          <div className={css.level} style={{ width: `${diskUsed * 100}%` }} />
        </div>
      </div>
      {last.gpus.length === 0 && <p className={css.soft}>No GPU that hypertuner can see.</p>}
    </aside>
  );
}

interface StripProps {
  name: string;
  said: string;
  detail?: string;
  samples: { time: number; share: number | null }[];
  now: number;
  children?: React.ReactNode;
}

function Strip({ name, said, detail, samples, now, children }: StripProps) {
  const { area, line } = areaPaths(samples, now, 300, 40);
  return (
    <div className={css.strip}>
      <div className={css.stripTop}>
        <span>{name}</span>
        <span className={css.detail}>{detail}</span>
        <span className={css.said}>{said}</span>
      </div>
      <svg viewBox="0 0 300 40" preserveAspectRatio="none" role="img" aria-label={`${name}: ${said} now`}>
        <path d={area} className={css.area} />
        <path d={line} className={css.curve} />
      </svg>
      {children}
    </div>
  );
}

function useMachine(): { host: string; samples: MachineSample[] } {
  const [view, setView] = useState<{ host: string; samples: MachineSample[] }>({ host: 'Machine', samples: [] });
  useEffect(() => {
    const read = () => get<Schema<'MachineView'>>('/api/machine').then(setView).catch(complain);
    void read();
    const wish = live.want(() => ({ machine: true }));
    const leave = [
      live.on('machine', ({ sample }) =>
        setView((before) => ({
          ...before,
          samples: [
            ...before.samples.filter((one) => one.time > sample.time - WINDOW_S && one.time < sample.time),
            sample,
          ],
        })),
      ),
      live.onAgain(() => void read()),
    ];
    return () => {
      wish.end();
      leave.forEach((one) => one());
    };
  }, []);
  return view;
}
