// All keys: those that work where one is first.
import { useStore } from '../api/store';
import { Checkbox } from '../parts/Field';
import { Dialog } from '../parts/Dialog';
import { Kbd } from '../parts/Button';
import css from './KeyList.module.css';
import { keyMap, singleLetters } from './keys';
import { allKeys } from './keyTable';

export function KeyList({ onClose }: { onClose: () => void }) {
  const groups = allKeys(useStore(keyMap));
  const letters = useStore(singleLetters);
  return (
    <Dialog
      title="Keys"
      onClose={onClose}
      width={720}
      footer={<Checkbox label="Single letters are keys" checked={letters} onChange={(on) => singleLetters.set(on)} />}
    >
      <div className={css.groups}>
        {groups.map(([group, keys]) => (
          <section key={group}>
            <h3>{group}</h3>
            <dl>
              {keys.map((key) => (
                <div key={key.does}>
                  <dt>
                    {key.keys.map((one) => (
                      <Kbd key={one} keys={one} />
                    ))}
                  </dt>
                  <dd>{key.does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
