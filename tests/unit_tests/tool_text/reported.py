"""Replies that Gemma models were reported to write, and their meaning: text, reasoning and calls.

The first sample of each kind names its public issues. Samples without a source are variations of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.unit_tests.tool_text.reported_variations import VARIATIONS
from tests.unit_tests.tool_text.sample_calls import ROME, ROME_TEXT, Q, Sample, wrapped

SAMPLES: dict[str, dict[str, Sample]] = {
    "a reply that starts inside the thought": {
        "vllm#45588, #39885": Sample(f"thought\nI should look.<channel|>{ROME_TEXT}", [ROME], "", "I should look."),
        "no call": Sample("thought\nI ponder.\n<channel|>Yes.", [], "Yes.", "I ponder."),
        "empty": Sample("thought\n<channel|>Yes.", [], "Yes."),
        "empty, without a line end": Sample("thought<channel|>Yes.", [], "Yes."),
        "never closed": Sample("thought\nI ponder.", [], "", "I ponder."),
        "never closed, a call": Sample(f"thought\nI ponder.\n{ROME_TEXT}", [ROME], "", "I ponder."),
        "after line ends": Sample("\nthought\nI ponder.<channel|>Yes.", [], "Yes.", "I ponder."),
        "a sentence that begins with thought": Sample("thought provoking\nstuff", [], "thought provoking\nstuff"),
        "a word that begins with thought": Sample("thoughts\nand prayers", [], "thoughts\nand prayers"),
        "a line with the word thought, later in the text": Sample("A\nthought\nabout it", [], "A\nthought\nabout it"),
    },
    "channel markers": {
        "llama.cpp test-chat: stray closer": Sample(
            "<|channel>thought\n<channel|>Hello.\nSo?<channel|>", [], "Hello.\nSo?"),
        "llama.cpp test-chat: two openers": Sample("<|channel><|channel>thought\n<channel|>Hello.", [], "Hello."),
        "vllm test_gemma4_reasoning: no name": Sample(
            "<|channel>thousand reasons<channel|>Done", [], "Done", "thousand reasons"),
        "hermes-agent#67632, LTEngine#28: a space": Sample(
            "<|channel>thought It is so.<channel|>Answer.", [], "Answer.", "It is so."),
        "hipfire#678: opener without a closer": Sample("<|channel>\nHere is the game.", [], "Here is the game."),
        "opener without a closer, a call": Sample(f"<|channel>\nLook:\n{ROME_TEXT}", [ROME], "Look:"),
        "opener without a closer, a fence": Sample(
            "<|channel>\n```python\nx = '<|channel>'\n```", [], "```python\nx = '<|channel>'\n```"),
        "opener without a closer, code for a call": Sample("<|channel>\n```tool_code\nnow()\n```", [("now", {})]),
        "no name, several lines": Sample("<|channel>\nI think\nso.<channel|>Yes.", [], "Yes.", "I think\nso."),
        "no line end before the thought": Sample("<|channel>thoughtI see.<channel|>Yes.", [], "Yes.", "I see."),
        "no line end after the text": Sample("Well.<|channel>thought\nhm<channel|>Yes.", [], "Well.Yes.", "hm"),
        "doubled with a line end": Sample("<|channel>\n<|channel>thought\nhm<channel|>Yes.", [], "Yes.", "hm"),
        "doubled with names": Sample("<|channel>thought\n<|channel>thought\nhm<channel|>Yes.", [], "Yes.", "hm"),
        "doubled closer": Sample("<|channel>thought\nhm<channel|><channel|>Yes.", [], "Yes.", "hm"),
        "two thoughts": Sample("<|channel>thought\na<channel|><|channel>thought\nb<channel|>c", [], "c", "ab"),
        "between calls": Sample(
            f"{ROME_TEXT}<|channel>thought\nnow b<channel|><|tool_call>call:now{{}}<tool_call|>",
            [ROME, ("now", {})], "", "now b"),
        "only an empty thought": Sample("<|channel>thought\n<channel|>", [], ""),
        "only an opener": Sample("<|channel>", [], ""),
        "opener and half a name": Sample("<|channel>thou", [], ""),
        "stray closer between words": Sample("one<channel|>two", [], "onetwo"),
        "closer at the start": Sample("<channel|>Yes.", [], "Yes."),
        "a word of a sentence": Sample("Then <channel|> closes it.", [], "Then <channel|> closes it."),
        "in backticks": Sample(
            "Use `<|channel>thought` and `<channel|>`.", [], "Use `<|channel>thought` and `<channel|>`."),
        "in a thought, in backticks": Sample(
            "<|channel>thought\nIt ends in `<channel|>`.<channel|>Yes.", [], "Yes.", "It ends in `<channel|>`."),
        "in a fence": Sample(
            "```\n<|channel>thought\nabc<channel|>def\n```", [], "```\n<|channel>thought\nabc<channel|>def\n```"),
        "opener in text": Sample(
            "The marker <|channel>thought\n is text.", [], "The marker <|channel>thought\n is text."),
    },
    "a call inside a thought that is never closed": {
        "vllm-mlx#609, #625, slime#2097, omlx#1854": Sample(
            f"<|channel>thought\nI should list.\n{ROME_TEXT}", [ROME], "", "I should list."),
        "two calls": Sample(
            f"<|channel>thought\nBoth.{ROME_TEXT}\n<|tool_call>call:now{{}}<tool_call|>", [ROME,
            ("now", {})], "", "Both."),
        "result token": Sample(f"<|channel>thought\nI list.{ROME_TEXT}<|tool_response>", [ROME], "", "I list."),
        "turn token": Sample(f"<|channel>thought\nI list.{ROME_TEXT}<turn|>\n", [ROME], "", "I list."),
        "a fence": Sample(
            "<|channel>thought\nI list.\n```tool_code\nweather(city='Rome')\n```", [ROME], "", "I list."),
        "json": Sample(
            '<|channel>thought\nI list.\n{"name": "weather", "arguments": {"city": "Rome"}}', [ROME], "", "I list."),
        "closed too late": Sample(f"<|channel>thought\nI list.{ROME_TEXT}<channel|>", [ROME], "", "I list."),
        "a truncated call": Sample(
            f"<|channel>thought\nI list.<|tool_call>call:weather{{city:{Q}Ro", [], "", "I list.", ("weather",)),
        "an example in a closed thought": Sample(
            f"<|channel>thought\nI could {ROME_TEXT} but no.<channel|>No.", [], "No.", f"I could {ROME_TEXT} but no."),
        "an example at the end of a closed thought": Sample(
            f"<|channel>thought\nLike {ROME_TEXT}<channel|>No.", [], "No.", f"Like {ROME_TEXT}"),
        "only a name": Sample("<|channel>thought\nI <|tool_call>call:now<tool_call|>", [("now", {})], "", "I"),
    },
    "thoughts and calls in code": {
        "llama.cpp#22371": wrapped(
            f"write{{path:{Q}a.txt{Q},content:{Q}line\n<|channel>thought\nabc<channel|>def{Q}}}",
            ("write", {"path": "a.txt", "content": "line\n<|channel>thought\nabc<channel|>def"})),
        "in json": Sample(
            '{"name": "write", "parameters": {"content": "<|channel>thought\\nabc<channel|>"}}',
            [("write", {"content": "<|channel>thought\nabc<channel|>"})]),
        "in python": Sample(
            "```tool_code\nwrite(content='''\n<|channel>thought\nabc<channel|>''')\n```",
            [("write", {"content": "\n<|channel>thought\nabc<channel|>"})]),
        "tokens in a string": wrapped(
            f"write{{path:{Q}<tool_call|> <|tool_call> <turn|>{Q}}}",
            ("write", {"path": "<tool_call|> <|tool_call> <turn|>"})),
        "a call in a string": wrapped(
            f"write{{content:{Q}Use <|tool_call>call:f{{a:1}}<tool_call|>{Q}}}",
            ("write", {"content": "Use <|tool_call>call:f{a:1}<tool_call|>"})),
        "two calls in a string": wrapped(
            f"write{{content:{Q}<|tool_call>call:f{{a:1}}<tool_call|><|tool_call>call:g{{}}<tool_call|>{Q}}}",
            ("write", {"content": "<|tool_call>call:f{a:1}<tool_call|><|tool_call>call:g{}<tool_call|>"})),
        "a fence of tildes": Sample(
            f"~~~python\nnow()\n{ROME_TEXT}\n~~~\nnow()", [("now", {})], f"~~~python\nnow()\n{ROME_TEXT}\n~~~"),
        "tildes in words": Sample("About ~~~ and ~~that~~\nnow()", [("now", {})], "About ~~~ and ~~that~~"),
        "a fence of backticks in one of tildes": Sample(
            "~~~\n```tool_code\nnow()\n```\n~~~\n", [], "~~~\n```tool_code\nnow()\n```\n~~~\n"),
        "code in a fence": Sample("```html\n<eos>\n<turn|>\n```\n", [], "```html\n<eos>\n<turn|>\n```\n"),
    },
    "tokens that end a turn": {
        "vllm#48522: text": Sample("The answer is 4.<turn|>", [], "The answer is 4."),
        "vllm#48522: call": Sample(f"{ROME_TEXT}<turn|>\n", [ROME]),
        "LlamaToolCallParserTests.swift": Sample(
            f"<|tool_call>\ncall:weather{{city:{Q}Rome{Q}}}\n<|end_of_turn>", [ROME]),
        "ChatterUI#128": Sample("Hello.<end_of_turn>", [], "Hello."),
        "ChatterUI#128: json": Sample('{"name": "weather", "parameters": {"city": "Rome"}}<end_of_turn>', [ROME]),
        "omlx": Sample("hello<tool_call|>", [], "hello"),
        "python": Sample("weather(city='Rome')<end_of_turn>", [ROME]),
        "fence": Sample("```tool_code\nweather(city='Rome')\n```<end_of_turn>", [ROME]),
        "fence without its end": Sample("```tool_code\nweather(city='Rome')\n<end_of_turn>", [ROME]),
        "stripped": Sample("call:weather{city:Rome}<turn|>", [ROME]),
        "no closing token": Sample(f"<|tool_call>call:weather{{city:{Q}Rome{Q}}}<turn|>", [ROME]),
        "eos": Sample("Hello.<eos>", [], "Hello."),
        "several": Sample("Hello.<turn|><eos>\n", [], "Hello."),
        "on its own line": Sample("Hello.\n<end_of_turn>\n", [], "Hello.\n"),
        "after code": Sample("```python\nx = 1\n```<end_of_turn>", [], "```python\nx = 1\n```"),
        "after code without its end": Sample("```python\nx = 1<end_of_turn>", [], "```python\nx = 1"),
        "in a thought": Sample("<|channel>thought\nhm<turn|>", [], "", "hm"),
        "in a thought, then another turn": Sample(
            "<|channel>thought\nhm<turn|>\n<|turn>model\nYes.", [], "Yes.", "hm"),
        "result token": Sample("Hello.<|tool_response>", [], "Hello."),
        "an invented result": Sample(
            f"{ROME_TEXT}<|tool_response>response:weather{{temp:{Q}5{Q}}}<tool_response|>It is 5.", [ROME], "It is 5."),
        "result token after a call": Sample(f"{ROME_TEXT}<|tool_response>\n", [ROME]),
        "between words": Sample("text<tool_call|>more", [], "textmore"),
        "begin and padding": Sample("<bos>Hi<bos> there<pad>.", [], "Hi there."),
        "words of a sentence": Sample("Use <turn|> and <eos> there.", [], "Use <turn|> and <eos> there."),
        "in brackets": Sample("It ends (<end_of_turn>).", [], "It ends (<end_of_turn>)."),
        "in backticks": Sample("`<eos>` ends it.", [], "`<eos>` ends it."),
        "the model's own header": Sample("<start_of_turn>model\nHello.<end_of_turn>", [], "Hello."),
        "the next turn": Sample("Hello.<end_of_turn>\n<start_of_turn>user\nWho?<end_of_turn>", [], "Hello."),
        "the next turn, with a call": Sample(
            f"Hello.<turn|>\n<|turn>user\nLook.<turn|>\n<|turn>model\n{ROME_TEXT}", [], "Hello."),
    },
    **VARIATIONS,
    "python in tool_code": {
        "gemma users": Sample("```tool_code\nresult = weather(city='Rome')\nprint(result)\n```", [ROME]),
        "vllm pythonic: strings": Sample(
            "```tool_code\nwrite(path='a.py', content=('a\\n'\n                            'b\\n'))\n```",
            [("write", {"path": "a.py", "content": "a\nb\n"})]),
        "vllm pythonic: numbers": Sample("[add(a=0x1F)]", [("add", {"a": 31})]),
        "octal, binary, underscores": Sample("[add(a=0o17, b=-0b1_0)]", [("add", {"a": 15, "b": -2})]),
        "kinds of strings": Sample(
            "```tool_code\nwrite(path=r'C:\\new', content=u'é' \"\"\"x'\n\"\"\" r'\\d')\n```",
            [("write", {"path": "C:\\new", "content": "éx'\n\\d"})]),
        "escapes": Sample(
            "```tool_code\nsh(command='\\x41\\101\\u00e9\\N{BULLET}\\\\n')\n```", [("sh", {"command": "AAé•\\n"})]),
        "tuple": Sample("```tool_code\nsearch(tags=('a', 'b'))\n```", [("search", {"tags": ["a", "b"]})]),
        "several results": Sample(
            "```tool_code\na = weather(city='Rome')\nb = now()\nprint(a, b)\n```", [ROME, ("now", {})]),
        "f-string": Sample(
            "```tool_code\nw = default_api.weather(city='Rome')\nprint(f\"It is {w['temp']} in Rome\")\n```", [ROME]),
        "result by name": Sample("```tool_code\nw = weather(city='Rome')\nw\n```", [ROME]),
        "index": Sample("```tool_code\nw = weather(city='Rome')\nprint(w['temp'], w.unit)\n```", [ROME]),
        "a part of a result": Sample("```tool_code\nprint(weather(city='Rome')['temp'])\n```", [ROME]),
        "an annotation": Sample("```tool_code\nw: dict[str, int] = weather(city='Rome')\nprint(w)\n```", [ROME]),
        "a space before the bracket": Sample("```tool_code\nweather (city='Rome')\n```", [ROME]),
        "import": Sample("```tool_code\nimport default_api\nprint(default_api.weather(city='Rome'))\n```", [ROME]),
        "positional": Sample("```tool_code\nweather('Rome')\n```", [ROME]),
        "a result as an argument": Sample(
            "```tool_code\nw = weather(city='Rome')\nsh(command=w)\n```", [],
            "```tool_code\nw = weather(city='Rome')\nsh(command=w)\n```"),
        "code around a call": Sample(
            "```tool_code\nfor x in range(3):\n    now()\n```", [], "```tool_code\nfor x in range(3):\n    now()\n```"),
        "evaluation": Sample("```tool_code\nadd(a=1+1)\n```", [], "```tool_code\nadd(a=1+1)\n```"),
        "in a sentence": Sample("Use weather(city='Rome') for it.", [], "Use weather(city='Rome') for it."),
    },
    "tags around json": {
        "ollama#18357, ollama#9680, vllm#15403": Sample(
            '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>', [ROME]),
        "ollama#18357, cactus gemma_tool_use": Sample('{"name": "weather", "args": {"city": "Rome"}}', [ROME]),
        "two calls": Sample(
            '<tool_call>{"name": "now", "arguments": {}}</tool_call>\n<tool_call>'
            '{"name": "weather", "args": {"city": "Rome"}}</tool_call>', [("now", {}), ROME]),
        "ollama#9680: another tag": Sample(
            '<tool>\n{"name": "weather", "parameters": {"city": "Rome"}}\n</tool>', [ROME]),
        "tags of code": Sample("<tool_code>\nweather(city='Rome')\n</tool_code>", [ROME]),
        "tags of a function": Sample(
            '<function_call>{"name": "weather", "arguments": {"city": "Rome"}}</function_call>', [ROME]),
        "only a name in tags": Sample("The <tool>now</tool> is bound.", [], "The <tool>now</tool> is bound."),
        "an end that is missing": Sample('<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}', [ROME]),
        "an unknown tool": Sample('<tool_call>{"name": "zzz", "arguments": {}}</tool_call>', [],
                                  '<tool_call>{"name": "zzz", "arguments": {}}</tool_call>'),
        "html": Sample("<call>me</call>", [], "<call>me</call>"),
    },
}  # fmt: skip


def iterate_samples() -> Iterator[tuple[str, Sample]]:
    """Yield each sample with its name."""
    for kind, samples in SAMPLES.items():
        for source, sample in samples.items():
            yield f"{kind}: {source}", sample
