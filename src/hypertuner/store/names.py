"""Names of runs: which are allowed, and friendly ones for runs that were given none."""

from __future__ import annotations

import re
from collections.abc import Collection

from hypertuner.errors import ConfigError

_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Windows gives these to devices, with or without an extension.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def check_name(name: object) -> str:
    """`name`, if a run may be called so, else a ConfigError that says why not."""
    if not isinstance(name, str):
        raise ConfigError(f"A run's name is text, not {type(name).__name__}: {name!r}.", key="name")
    if not _PATTERN.fullmatch(name):
        raise ConfigError(
            f"{name[:80]!r} cannot be the name of a run: {_fault(name)}.\n"
            "  Use 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first.",
            key="name",
        )
    if _RESERVED.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a run: Windows reserves it for a device.\n  Add to it: 'run-{name}'.",
            key="name",
        )
    if name.endswith("."):
        raise ConfigError(
            f"{name!r} cannot be the name of a run: Windows drops a dot at the end.\n  Leave the dot out.", key="name"
        )
    return name


def is_name(name: str) -> bool:
    """Whether a run may be called so."""
    try:
        check_name(name)
    except ConfigError:
        return False
    return True


def _fault(name: str) -> str:
    if not name:
        return "it is empty"
    if "/" in name or "\\" in name:
        return "it is a path"
    if len(name) > 64:
        return f"it has {len(name)} characters"
    for character in name:
        if not re.fullmatch(r"[A-Za-z0-9._-]", character):
            return f"it has {character!r} (U+{ord(character):04X})"
    return f"it begins with {name[0]!r}"


def friendly_name(taken: Collection[str]) -> str:
    """An adjective and an animal that no name in `taken` (casefolded) uses, e.g. 'brave-otter'."""
    # Not `random.choice`: a script's seed would give every run of it the same name, and drawing would
    # change the random numbers that the script sees.
    from random import SystemRandom

    choice = SystemRandom().choice
    for _ in range(64):
        name = f"{choice(_ADJECTIVES)}-{choice(_ANIMALS)}"
        if name not in taken:
            return name
    while True:
        name = f"{choice(_ADJECTIVES)}-{choice(_ADJECTIVES)}-{choice(_ANIMALS)}"
        if name not in taken:
            return name


_ADJECTIVES = (
    "able agile airy alert amber ample apt autumn azure balmy bold brave bright brisk bronze calm candid cheery "
    "civil clear clever cobalt cool copper coral cosmic cosy crisp curious daring dapper deft dewy eager early "
    "easy elfin even fair fancy fearless fine fleet fond frank free fresh gallant gentle gilded glad golden grand "
    "green hale handy happy hardy hazel honest humble ideal indigo ivory jade jaunty jolly keen kind lilac lively "
    "loyal lucid lucky lunar mellow merry mild mint misty modest neat nimble noble olive opal patient pearly "
    "plucky polite proud pure quick quiet rapid ready rosy royal ruby rustic sage sandy serene sharp shiny silent "
    "silver sleek smart snowy solar solid spry stable steady stellar sturdy subtle sunny swift tender tidy topaz "
    "tranquil trusty upbeat urban velvet vivid warm wise witty young zesty"
).split()
_ANIMALS = (
    "albatross alpaca antelope badger beaver bison bobcat buffalo camel caribou cat cheetah condor cougar coyote "
    "crane cricket crow deer dingo dolphin donkey dove dragonfly duck eagle egret elk ermine falcon ferret finch "
    "firefly flamingo fox gazelle gecko gibbon giraffe goose gopher grouse gull hamster hare hawk hedgehog heron "
    "hippo horse ibex ibis iguana impala jackal jaguar jay kestrel kingfisher kiwi koala lark lemming lemur "
    "leopard lion lizard llama lynx macaw magpie manatee marmot marten meerkat mole moose mule narwhal newt "
    "ocelot octopus orca oriole osprey ostrich otter owl panda panther parrot pelican penguin pheasant pigeon "
    "plover pony possum puffin puma quail rabbit raccoon raven reindeer robin salmon seal shrew sloth snail "
    "sparrow squid stork swan swift tapir tern thrush tiger toad toucan trout turtle viper vole walrus weasel "
    "whale wolf wombat wren yak zebra"
).split()
