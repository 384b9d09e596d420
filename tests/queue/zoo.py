"""Scripts that must say and do the same in a fork as in a Python of their own.

Each prints something that depends on what it is to be tested. `environment` adds variables, `files` lie beside the
script; `merged`: both streams go into one file, in the order in which they were written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Animal:
    """One script."""

    source: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    merged: bool = False
    is_slow: bool = False


ZOO: dict[str, Animal] = {
    "what it is": Animal(
        """
        import gc, os, signal, sys, threading
        print(sys.argv, sys.orig_argv, sys.path, sys.flags, sys.warnoptions, sys.executable, sys.getrecursionlimit())
        print(list(globals()), __name__, __file__, __spec__, __annotations__, __package__, __doc__, __cached__)
        print(type(__loader__).__name__, __builtins__, sys.modules["__main__"].__dict__ is globals())
        print(threading.main_thread() is threading.current_thread(), threading.active_count(), threading.main_thread().name)
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            print(stream, stream.errors, stream.line_buffering, stream.write_through, stream.newlines, stream.seekable())
            print(type(stream.buffer), stream.buffer.raw if hasattr(stream.buffer, "raw") else None)
        print(sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__, sys.excepthook, sys.displayhook, sys.exit)
        print({number: signal.getsignal(number) for number in signal.valid_signals()})
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []), gc.isenabled(), gc.get_threshold(), sys.gettrace())
        print(sorted(os.environ.items()), os.getcwd())
        print(sorted(os.readlink(f"/proc/self/fd/{n}") for n in "0123456789" if os.path.exists(f"/proc/self/fd/{n}")))
        """,
        ("--lr", "0.1", "a b", "", "ü"),
    ),
    "what ps shows": Animal(
        "print(open('/proc/self/cmdline').read().replace('\\0', ' ').strip(), open('/proc/self/comm').read())",
        ("a", "b=ü"),
    ),
    "getenv of C": Animal(
        """
        import ctypes, os
        libc = ctypes.CDLL(None); libc.getenv.restype = ctypes.c_char_p
        print(libc.getenv(b"A_VARIABLE"), libc.getenv(b"HOME"), os.environ["A_VARIABLE"], libc.getenv(b"SUPERVISORS"))
        """,
        environment={"A_VARIABLE": "ü"},
    ),
    "argparse": Animal(
        """
        import argparse
        parser = argparse.ArgumentParser(description="Train.")
        parser.add_argument("--lr", type=float, default=0.1)
        print(parser.parse_args())
        """,
        ("--lr", "x"),
    ),
    "help": Animal("import argparse\nargparse.ArgumentParser(description='Train.').parse_args()", ("--help",)),
    "local modules and packages": Animal(
        """
        import helper, models, models.layers
        from models import layers
        print(helper.__name__, helper.__file__, models.__path__, layers.WIDTH, models.layers.depth())
        """,
        files={
            "helper.py": "import models",
            "models/__init__.py": "from . import layers\nfrom .layers import WIDTH",
            "models/layers.py": "WIDTH = 3\ndef depth():\n    from . import WIDTH as again\n    return again, __name__",
        },
    ),
    "name is main": Animal(
        """
        def main(): print("in main", __name__)
        if __name__ == "__main__":
            main()
        """
    ),
    "order at exit": Animal(
        """
        import atexit, threading, time, weakref
        class Thing:
            def __del__(self): print("deleted")
        thing, other = Thing(), Thing()
        weakref.finalize(other, print, "finalized")
        atexit.register(print, "registered first"); atexit.register(print, "registered last")
        def later(): time.sleep(0.2); print("a thread that was waited for")
        threading.Thread(target=later).start()
        print("last line")
        """
    ),
    "a file that nobody closed": Animal(
        """
        import os
        a = open("unclosed.txt", "w"); a.write("all of it")
        import atexit; atexit.register(lambda: print(os.path.getsize("unclosed.txt")))
        """
    ),
    "an exception": Animal("def f(x):\n    return 1 / x\nprint('before')\nf(0)"),
    "a chained exception": Animal(
        """
        try:
            {}["a"]
        except KeyError as error:
            raise ValueError("no a") from error
        """
    ),
    "an exception while handling one": Animal("try:\n    1/0\nexcept ZeroDivisionError:\n    [][1]"),
    "an exception in a thread": Animal(
        """
        import threading
        thread = threading.Thread(target=lambda: 1 / 0, name="T"); thread.start(); thread.join()
        print("goes on")
        """
    ),
    "an exception at exit": Animal("import atexit\natexit.register(lambda: 1 / 0)\nprint('done')"),
    "an exception in __del__": Animal("class D:\n    def __del__(self): raise ValueError('x')\nd = D(); del d"),
    "an exception hook": Animal(
        """
        import sys
        def hook(kind, error, trace): print("hooked", kind, error, trace.tb_frame.f_code.co_name, trace.tb_lineno)
        sys.excepthook = hook
        raise ValueError("x")
        """
    ),
    "a notes exception": Animal("raise type('Odd', (Exception,), {'__str__': lambda s: 1/0})()"),
    "recursion": Animal("def f(): f()\ntry: f()\nexcept RecursionError as error: print(error)"),
    "a syntax error": Animal("print('never')\nx = (1,\ny = 2\n"),
    "a tab error": Animal("if 1:\n\tx = 1\n        y = 2\n"),
    "a syntax error in a module": Animal("import broken", files={"broken.py": "def f(:\n    pass"}),
    "an unknown encoding": Animal("# -*- coding: nonsense -*-\nprint(1)"),
    "a source in latin-1": Animal("# -*- coding: latin-1 -*-\nprint(len('\u00fc'))"),
    "a missing module": Animal("import there_is_no_such_module"),
    "exit 3": Animal("import sys\nprint('out')\nsys.exit(3)"),
    "exit with a text": Animal("import sys\nsys.exit('what went wrong: ü')"),
    "exit with None": Animal("import sys\nsys.exit(None)"),
    "exit with a tuple": Animal("raise SystemExit((1, 'x'))"),
    "exit -1": Animal("raise SystemExit(-1)"),
    "exit by the builtin": Animal("exit(4)"),
    "exit deep below": Animal(
        "def f(n):\n    if n: f(n - 1)\n    else: raise SystemExit(5)\ntry: f(50)\nfinally: print('finally')"
    ),
    "exit in a thread": Animal(
        "import sys, threading\nt = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join(); print('on')"
    ),
    "exit without saying goodbye": Animal(
        "import os, atexit\natexit.register(print, 'no')\nprint('x', flush=True)\nos._exit(7)"
    ),
    "abort": Animal("import os\nos.abort()"),
    "a full disk": Animal("import sys\nsys.stdout = open('/dev/full', 'w')\nprint('x')"),
    "a full disk behind stdout": Animal(
        "import os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nprint('x')",
        environment={"PYTHONUNBUFFERED": None},
    ),
    "closed stdout": Animal("import sys\nsys.stdout.close()"),
    "Ctrl-C": Animal("import os, signal\nprint('x')\nos.kill(os.getpid(), signal.SIGINT)\nfor i in range(10**7): pass"),
    "Ctrl-C caught": Animal(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    signal.pause()\nexcept KeyboardInterrupt:\n    print('caught')"
    ),
    "raise KeyboardInterrupt": Animal(
        "import atexit\natexit.register(print, 'at exit')\nraise KeyboardInterrupt('by hand')"
    ),
    "SIGTERM": Animal(
        "import atexit, os, signal\natexit.register(print, 'no')\nos.kill(os.getpid(), signal.SIGTERM)\nsignal.pause()"
    ),
    "SIGPIPE": Animal("import os\nr, w = os.pipe(); os.close(r)\nos.write(w, b'x')"),
    "its own signal handlers": Animal(
        """
        import os, signal, sys
        def on(number, frame): print("got", signal.Signals(number).name, frame.f_code.co_name); sys.exit(9)
        signal.signal(signal.SIGTERM, on); signal.signal(signal.SIGUSR1, lambda *a: print("usr1"))
        os.kill(os.getpid(), signal.SIGUSR1); os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
        """
    ),
    "a child's end is its own": Animal(
        "import os\np = os.fork()\nif not p: os._exit(3)\nprint(os.waitpid(p, 0)[1] >> 8)"
    ),
    "a fork that ends like a script": Animal(
        "import os, atexit\natexit.register(print, 'exit')\np = os.fork()\nif p: os.waitpid(p, 0)"
    ),
    "subprocesses": Animal(
        """
        import subprocess, sys
        code = "import sys, os; print(sys.argv, sys.path[0], os.getcwd(), 'torch' in sys.modules); sys.exit(3)"
        done = subprocess.run([sys.executable, "-c", code, "a"], capture_output=True, text=True)
        print(done)
        print(subprocess.run("echo from the shell; exit 2", shell=True).returncode, subprocess.check_output(["echo", "x"]))
        """
    ),
    "latin-1": Animal("print('ü')\nprint('\u4e2d')", environment={"PYTHONIOENCODING": "latin-1"}),
    "surrogates": Animal("print('\\udcff')", environment={"PYTHONIOENCODING": "utf-8:surrogateescape"}),
    "LANG=C": Animal(
        """
        import locale, os, sys
        print(sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors, locale.getpreferredencoding(), sys.flags.utf8_mode)
        print(sys.getfilesystemencoding(), {k: v for k, v in os.environ.items() if k.startswith(("LC_", "LANG"))})
        print(locale.setlocale(locale.LC_CTYPE), "\\udcff ü")
        """,
        environment={"LANG": "C", "PYTHONIOENCODING": None, "LC_ALL": None},
    ),
    "unbuffered order": Animal(
        "import sys\nfor i in range(3):\n    print('out', i)\n    print('err', i, file=sys.stderr)\nsys.stdout.write('end')",
        environment={"PYTHONUNBUFFERED": "1"},
        merged=True,
    ),
    "buffered order": Animal(
        "import sys\nfor i in range(3):\n    print('out', i)\n    print('err', i, file=sys.stderr)\nsys.stderr.write('half')\nsys.stdout.write('end')",
        environment={"PYTHONUNBUFFERED": None},
        merged=True,
    ),
    "warnings": Animal(
        """
        import warnings
        warnings.warn("first"); warnings.warn("old", DeprecationWarning); warnings.warn("pending", PendingDeprecationWarning)
        for i in range(3): warnings.warn("once a place")
        def f(): warnings.warn("at the caller", stacklevel=2)
        f()
        f = open("unclosed.txt", "w"); del f
        """
    ),
    "warnings by the environment": Animal(
        "import warnings, sys\nprint(sys.warnoptions)\nwarnings.warn('is an error')",
        environment={"PYTHONWARNINGS": "error::UserWarning"},
    ),
    "logging": Animal(
        """
        import logging, sys
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(filename)s:%(lineno)d %(message)s")
        logging.info("hello"); logging.getLogger("a.b").warning("there"); logging.debug("no")
        try: 1 / 0
        except ZeroDivisionError: logging.exception("failed")
        print(logging.root.handlers)
        record = logging.LogRecord("a", 20, "b", 1, "c", (), None); print(0 <= record.relativeCreated < 10_000)
        """
    ),
    "logging without a config": Animal(
        "import logging\nlogging.warning('last resort')\nlogging.getLogger('x').error('again')"
    ),
    "pickles of its classes": Animal(
        """
        import pickle, dataclasses, copy
        @dataclasses.dataclass
        class Config:
            lr: float = 0.1
            def f(self): return self.lr
        data = pickle.dumps(Config(0.3), 2)
        print(data, pickle.loads(data), pickle.loads(data).f(), copy.deepcopy(Config()), Config.__module__, Config.__qualname__)
        """
    ),
    "its source": Animal(
        """
        import inspect, sys
        class Net:
            '''What it is.'''
            def forward(self, x): return x
        print(inspect.getsource(Net), inspect.getsource(Net.forward), inspect.getfile(Net), inspect.getmodule(Net))
        print(inspect.getsource(sys.modules["__main__"]))
        """
    ),
    "runpy": Animal(
        "import runpy\nprint(runpy.run_path('other.py', run_name='__main__')['x'])\nrunpy.run_module('mod', run_name='__main__')",
        files={
            "other.py": "import sys\nx = (__name__, __file__, sys.argv[0])",
            "mod.py": "print(__name__, __spec__.name)",
        },
    ),
    "breakpoint without a terminal": Animal("x = 1\nbreakpoint()\nprint('after')"),
    "breakpoints off": Animal("breakpoint()\nprint('after')", environment={"PYTHONBREAKPOINT": "0"}),
    "input without a terminal": Animal("input('name? ')"),
    "stdin": Animal("import sys\nprint(repr(sys.stdin.read()), sys.stdin.isatty())"),
    "asyncio": Animal(
        """
        import asyncio
        async def f(x): await asyncio.sleep(0.01); return x
        print(asyncio.run(f(3)))
        async def g():
            asyncio.get_running_loop().add_signal_handler(10, print, "signal"); import os; os.kill(os.getpid(), 10); await asyncio.sleep(0.05)
        asyncio.run(g())
        """
    ),
    "thread pools": Animal(
        "from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor\n"
        "def f(x): return x * x\n"
        "if __name__ == '__main__':\n"
        "    print(list(ThreadPoolExecutor(3).map(f, range(5))))\n"
        "    with ProcessPoolExecutor(2) as pool: print(list(pool.map(f, range(5))))\n"
    ),
    "multiprocessing": Animal(
        """
        import multiprocessing, os
        class Point:
            def __init__(self, x): self.x = x
            def __eq__(self, other): return self.x == other.x
        def work(point): return Point(point.x + 1), __name__, multiprocessing.current_process().name.split("-")[0], os.getcwd()
        if __name__ == "__main__":
            print(multiprocessing.current_process(), multiprocessing.parent_process(), multiprocessing.get_start_method())
            for how in ("spawn", "fork", "forkserver"):
                with multiprocessing.get_context(how).Pool(1) as pool:
                    [(point, *rest)] = pool.map(work, [Point(1)])
                    print(how, point == Point(2), rest)
        """
    ),
    "a module of the standard library's name": Animal(
        "import mailbox, chunk_of_mine\nprint(mailbox.WHO, chunk_of_mine.WHO)",
        files={"mailbox.py": "WHO = 'mine'", "chunk_of_mine.py": "WHO = 'mine too'"},
    ),
    "training": Animal(
        """
        import torch, numpy, random
        torch.manual_seed(0); numpy.random.seed(0); random.seed(0)
        print(torch.rand(3), numpy.random.rand(3), random.random(), torch.get_num_threads(), torch.get_default_dtype())
        a = torch.randn(600, 600, requires_grad=True)
        (a @ a).sum().backward(); print(a.grad.norm())
        net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(2))
        net(torch.randn(2, 1, 8, 8))
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for i in range(5):
            optimizer.zero_grad(); loss = net(torch.randn(8, 1, 8, 8)).pow(2).mean(); loss.backward(); optimizer.step()
        print(loss.item(), torch.is_grad_enabled(), torch.initial_seed())
        torch.set_num_threads(1); print(torch.get_num_threads(), (a @ a).sum().item())
        print(numpy.linalg.svd(numpy.ones((200, 200)))[1][0].round(3))
        """
    ),
    "set_num_threads first": Animal(
        "import torch\ntorch.set_num_threads(2); torch.set_num_interop_threads(2)\na = torch.ones(500, 500)\nprint((a @ a).sum(), torch.get_num_threads())"
    ),
    "data loaders": Animal(
        """
        import torch
        from torch.utils.data import DataLoader, Dataset
        class Numbers(Dataset):
            def __len__(self): return 8
            def __getitem__(self, i): return torch.full((2,), float(i)) @ torch.ones(2, 2)
        if __name__ == "__main__":
            torch.manual_seed(3)
            for how in ("fork", "spawn"):
                loader = DataLoader(Numbers(), batch_size=2, shuffle=True, num_workers=2, multiprocessing_context=how)
                print(how, [batch.tolist() for batch in loader])
            kept = DataLoader(Numbers(), num_workers=1, persistent_workers=True); print(len(list(kept)))
        """
    ),
    "torch saves its classes": Animal(
        """
        import io, torch
        class Net(torch.nn.Module):
            def __init__(self): super().__init__(); self.layer = torch.nn.Linear(1, 1)
        torch.manual_seed(1)
        data = io.BytesIO(); torch.save(Net(), data); data.seek(0)
        print(torch.load(data, weights_only=False).layer.weight, Net.__module__)
        """
    ),
    "torch.compile": Animal(
        "import torch\n@torch.compile\ndef f(x): return torch.sin(x) + 1\nprint(f(torch.zeros(4)))\n", is_slow=True
    ),
}
