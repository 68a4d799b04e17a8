"""How a verb reads its options: each once, and none that is empty."""

from __future__ import annotations

from collections import Counter

import click

from cifar_track import config


class Verb(click.Command):
    """A command that refuses an option given twice, and one given as empty.

    Click takes the last of several values: `-e tune -P experiment=strong` would train `strong`. And
    what is empty is a shell's variable that is not set, not a wish for the default.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Click's own, after a look at what was typed."""
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = [param for param in order if isinstance(param, click.Option) and not param.hidden]
        for option, times in Counter(given).items():
            name = option.opts[0]
            if times > 1:
                raise config.CifarTrackError(
                    f"{name} is given {'twice' if times == 2 else f'{times} times'}; give it once"
                )
            value = values.get(option.name or "")
            if isinstance(value, str) and not value.strip(" ,\t\n"):
                raise config.CifarTrackError(
                    f"{name} is empty; give a value, or leave the option out"
                )
        return super().parse_args(ctx, args)
