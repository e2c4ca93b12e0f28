"""``refimpl completion``: a script with which a shell completes commands, options and names of formats."""

from __future__ import annotations

from refimpl.commands.options import declare

FORMATS = ("name", "format")  # positional arguments that name a format

SCRIPT = """\
{first}_refimpl() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
        *)
            case "${{COMP_WORDS[1]}}" in
{options}
            esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o bashdefault -o default -F _refimpl refimpl
"""


def add(commands) -> None:
    """Declare the command and its options."""
    command = declare(
        commands,
        "completion",
        _completion,
        help="print a script that completes commands, options and formats in bash or zsh",
        description="Print a script with which a shell completes commands, options, their choices and names of "
        'formats, and files elsewhere. For every new shell, put into ~/.bashrc: eval "$(refimpl completion bash)", or '
        "the same with zsh into ~/.zshrc.",
        examples=("bash", "zsh"),
        parsers=commands.choices,
    )
    command.add_argument("shell", choices=("bash", "zsh"), help="bash or zsh")


def _completion(options) -> int:
    parsers = options.parsers
    values, words = [], []
    for name, parser in parsers.items():
        own: list[str] = []
        for action in parser._actions:  # argparse has no public list of them
            if action.option_strings and action.choices:
                flags = "|".join(f'"{name} {flag}"' for flag in action.option_strings)
                values.append(f'        {flags}) words="{" ".join(action.choices)}" ;;')
            own += [flag for flag in action.option_strings if flag.startswith("--")] or action.choices or ()
            own += _formats() if not action.option_strings and action.dest in FORMATS else ()
            own += _operations() if action.dest == "operation" and not action.choices else ()
        words.append(f'            {name}) words="{" ".join(own)}" ;;')
    first = "autoload -U +X bashcompinit && bashcompinit\n" if options.shell == "zsh" else ""
    script = SCRIPT.format(first=first, commands=" ".join(parsers), values="\n".join(values), options="\n".join(words))
    print(script, end="")
    return 0


def _operations() -> list[str]:
    from refimpl.testing.vectors.vectors import OPERATIONS

    return list(OPERATIONS)


def _formats() -> list[str]:
    from refimpl import formats

    return list(formats.names())
