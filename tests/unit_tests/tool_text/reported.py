"""Replies that Gemma models were reported to write, and their meaning: text, reasoning and calls.

The first sample of each kind names its public issues. Samples without a source are variations of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple


def _make_tool(tool: str, *required: str, **parameters: Any) -> dict[str, Any]:
    properties = {key: {"type": kind} if isinstance(kind, str | list) else kind for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": tool, "description": "d", "parameters": schema}}


TOOLS = [
    _make_tool("weather", city="string", unit="string"),
    _make_tool("now"),
    _make_tool("sh", command="string"),
    _make_tool("grep", include="string", path="string", pattern="string"),
    _make_tool("write", path="string", content="string", overwrite="boolean"),
    _make_tool("search", query="string", limit="integer", filters="object", tags="array"),
    _make_tool("open", path="string"),
    _make_tool("edit", edits="array"),
    _make_tool("web-search", q="string"),
    _make_tool("fs.read", path="string"),
    _make_tool("add", a="integer", b="integer"),
    _make_tool("conf", config="object", on="boolean", ratio="number", label="string"),
    _make_tool("find", zip="string", phone="string", id="string", version="string",
          ids={"type": "array", "items": {"type": "string"}}),
    _make_tool("nullable", value=["string", "null"]),
    _make_tool("flow", connections="object", name="string"),
    _make_tool("make-pdf", title="string"),
    _make_tool("run_js", data="string"),
    _make_tool("must", "label", label="string"),
]  # fmt: skip


class Sample(NamedTuple):
    """A reply of a model, and its meaning.

    Attributes:
        reply: The text of the reply.
        calls: The valid calls, with their arguments.
        text: The text of the message.
        reasoning: The reasoning of the message.
        invalid: The names of calls that cannot be read.
    """

    reply: str
    calls: list[tuple[str, dict[str, Any]]]
    text: str = ""
    reasoning: str = ""
    invalid: tuple[str, ...] = ()


Q = '<|"|>'  # Gemma 4's token for quotes
ROME: tuple[str, dict[str, Any]] = ("weather", {"city": "Rome"})
ROME_TEXT = f"<|tool_call>call:weather{{city:{Q}Rome{Q}}}<tool_call|>"


def _sample(inner: str, *calls: tuple[str, dict[str, Any]], **more: Any) -> Sample:
    return Sample(f"<|tool_call>call:{inner}<tool_call|>", list(calls), **more)


SAMPLES: dict[str, dict[str, Sample]] = {
    "a reply that starts inside the thought": {
        "vllm#45588, #39885": Sample(f"thought\nI should look.<channel|>{ROME_TEXT}", [ROME], "", "I should look."),
        "no call": Sample("thought\nI ponder.\n<channel|>Yes.", [], "Yes.", "I ponder."),
        "empty": Sample("thought\n<channel|>Yes.", [], "Yes."),
        "empty, without a line end": Sample("thought<channel|>Yes.", [], "Yes."),
        "never closed": Sample("thought\nI ponder.", [], "", "I ponder."),
        "never closed, a call": Sample(f"thought\nI ponder.\n{ROME_TEXT}", [ROME], "", "I ponder."),
        "behind line ends": Sample("\nthought\nI ponder.<channel|>Yes.", [], "Yes.", "I ponder."),
        "a sentence is none": Sample("thought provoking\nstuff", [], "thought provoking\nstuff"),
        "a word is none": Sample("thoughts\nand prayers", [], "thoughts\nand prayers"),
        "later it is none": Sample("A\nthought\nabout it", [], "A\nthought\nabout it"),
    },
    "channel markers": {
        "llama.cpp test-chat: stray closer": Sample(
            "<|channel>thought\n<channel|>Hello.\nSo?<channel|>", [], "Hello.\nSo?"),
        "llama.cpp test-chat: two openers": Sample("<|channel><|channel>thought\n<channel|>Hello.", [], "Hello."),
        "vllm test_gemma4_reasoning: nameless": Sample(
            "<|channel>thousand reasons<channel|>Done", [], "Done", "thousand reasons"),
        "hermes-agent#67632, LTEngine#28: blank": Sample(
            "<|channel>thought It is so.<channel|>Answer.", [], "Answer.", "It is so."),
        "hipfire#678: orphan opener": Sample("<|channel>\nHere is the game.", [], "Here is the game."),
        "orphan opener, a call": Sample(f"<|channel>\nLook:\n{ROME_TEXT}", [ROME], "Look:"),
        "orphan opener, a fence": Sample(
            "<|channel>\n```python\nx = '<|channel>'\n```", [], "```python\nx = '<|channel>'\n```"),
        "orphan opener, code for a call": Sample("<|channel>\n```tool_code\nnow()\n```", [("now", {})]),
        "nameless over lines": Sample("<|channel>\nI think\nso.<channel|>Yes.", [], "Yes.", "I think\nso."),
        "glued to the thought": Sample("<|channel>thoughtI see.<channel|>Yes.", [], "Yes.", "I see."),
        "glued to the text": Sample("Well.<|channel>thought\nhm<channel|>Yes.", [], "Well.Yes.", "hm"),
        "doubled with a line end": Sample("<|channel>\n<|channel>thought\nhm<channel|>Yes.", [], "Yes.", "hm"),
        "doubled with names": Sample("<|channel>thought\n<|channel>thought\nhm<channel|>Yes.", [], "Yes.", "hm"),
        "doubled closer": Sample("<|channel>thought\nhm<channel|><channel|>Yes.", [], "Yes.", "hm"),
        "two thoughts": Sample("<|channel>thought\na<channel|><|channel>thought\nb<channel|>c", [], "c", "ab"),
        "between calls": Sample(
            f"{ROME_TEXT}<|channel>thought\nnow b<channel|><|tool_call>call:now{{}}<tool_call|>",
            [ROME, ("now", {})], "", "now b"),
        "empty thought alone": Sample("<|channel>thought\n<channel|>", [], ""),
        "opener alone": Sample("<|channel>", [], ""),
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
        "a cut call": Sample(
            f"<|channel>thought\nI list.<|tool_call>call:weather{{city:{Q}Ro", [], "", "I list.", ("weather",)),
        "an example in a closed thought": Sample(
            f"<|channel>thought\nI could {ROME_TEXT} but no.<channel|>No.", [], "No.", f"I could {ROME_TEXT} but no."),
        "an example at the end of a closed thought": Sample(
            f"<|channel>thought\nLike {ROME_TEXT}<channel|>No.", [], "No.", f"Like {ROME_TEXT}"),
        "a name alone": Sample("<|channel>thought\nI <|tool_call>call:now<tool_call|>", [("now", {})], "", "I"),
    },
    "thoughts and calls in code": {
        "llama.cpp#22371": _sample(
            f"write{{path:{Q}a.txt{Q},content:{Q}line\n<|channel>thought\nabc<channel|>def{Q}}}",
            ("write", {"path": "a.txt", "content": "line\n<|channel>thought\nabc<channel|>def"})),
        "in json": Sample(
            '{"name": "write", "parameters": {"content": "<|channel>thought\\nabc<channel|>"}}',
            [("write", {"content": "<|channel>thought\nabc<channel|>"})]),
        "in python": Sample(
            "```tool_code\nwrite(content='''\n<|channel>thought\nabc<channel|>''')\n```",
            [("write", {"content": "\n<|channel>thought\nabc<channel|>"})]),
        "tokens in a string": _sample(
            f"write{{path:{Q}<tool_call|> <|tool_call> <turn|>{Q}}}",
            ("write", {"path": "<tool_call|> <|tool_call> <turn|>"})),
        "a call in a string": _sample(
            f"write{{content:{Q}Use <|tool_call>call:f{{a:1}}<tool_call|>{Q}}}",
            ("write", {"content": "Use <|tool_call>call:f{a:1}<tool_call|>"})),
        "two calls in a string": _sample(
            f"write{{content:{Q}<|tool_call>call:f{{a:1}}<tool_call|><|tool_call>call:g{{}}<tool_call|>{Q}}}",
            ("write", {"content": "<|tool_call>call:f{a:1}<tool_call|><|tool_call>call:g{}<tool_call|>"})),
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
        "behind code": Sample("```python\nx = 1\n```<end_of_turn>", [], "```python\nx = 1\n```"),
        "behind code without its end": Sample("```python\nx = 1<end_of_turn>", [], "```python\nx = 1"),
        "in a thought": Sample("<|channel>thought\nhm<turn|>", [], "", "hm"),
        "in a thought, then a turn of its own": Sample(
            "<|channel>thought\nhm<turn|>\n<|turn>model\nYes.", [], "Yes.", "hm"),
        "result token": Sample("Hello.<|tool_response>", [], "Hello."),
        "an invented result": Sample(
            f"{ROME_TEXT}<|tool_response>response:weather{{temp:{Q}5{Q}}}<tool_response|>It is 5.", [ROME], "It is 5."),
        "result token behind a call": Sample(f"{ROME_TEXT}<|tool_response>\n", [ROME]),
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
    "variations around a call": {
        "vllm#53444": Sample(f"<|tool_call>:call:sh{{command:{Q}pytest{Q}}}", [("sh", {"command": "pytest"})]),
        "tensai#217, flutter_gemma#238, mlx-vlm": Sample(
            f"<|tool_call>weather{{city:{Q}Rome{Q}}}<tool_call|>", [ROME]),
        "vllm test_gemma4_regex": Sample(f"<call>weather{{city:{Q}Rome{Q}}}", [ROME]),
        "vmlx-swift#61": _sample('search({"tags":["a"]})', ("search", {"tags": ["a"]})),
        "omlx#1830, mlx-vlm#1379": _sample(f"google:mcp:text:make-pdf{{title:{Q}A{Q}}}", ("make-pdf", {"title": "A"})),
        "vllm#53431": _sample(f" weather{{city:{Q}Rome{Q}}}", ROME),
        "omlx#552": Sample('<|tool_call>{"name": "weather", "arguments": {"city": "Rome"}}<tool_call|>', [ROME]),
        "words before the call": Sample("<|tool_call>garbage call:add{a:1}<tool_call|>", [("add", {"a": 1})]),
        "blanks": Sample("<|tool_call>  call: add {a:1} <tool_call|>", [("add", {"a": 1})]),
        "words behind the call": Sample("<|tool_call>call:add{a:1} zzz<tool_call|>", [("add", {"a": 1})]),
        "arguments behind the call": _sample(f"write{{path:{Q}a{Q}}},content:{Q}b{Q}}}", invalid=("write",)),
        "colon alone": Sample("<|tool_call>:add{a:1}<tool_call|>", [("add", {"a": 1})]),
        "no arguments": _sample("now", ("now", {})),
        "empty brackets": _sample("now()", ("now", {})),
        "two openers": Sample(f"<|tool_call><|tool_call>call:weather{{city:{Q}Rome{Q}}}<tool_call|>", [ROME]),
        "two closers": Sample(f"{ROME_TEXT}<tool_call|>", [ROME]),
        "doubled braces": _sample(f"weather{{{{city:{Q}Rome{Q}}}}}", ROME),
        "a dot in the name": _sample(f"fs.read{{path:{Q}a{Q}}}", ("fs.read", {"path": "a"})),
        "a namespace of dots": _sample(f"default_api.fs.read{{path:{Q}a{Q}}}", ("fs.read", {"path": "a"})),
        "a namespace of slashes": _sample(f"mcp/web-search{{q:{Q}a{Q}}}", ("web-search", {"q": "a"})),
        "json in a namespace": Sample('{"name": "google:weather", "args": {"city": "Rome"}}', [ROME]),
        "a list between the tokens": Sample(
            '<|tool_call>[{"name": "now", "arguments": {}}]<tool_call|>', [("now", {})]),
        "python between the tokens": Sample("<|tool_call>weather(city='Rome')<tool_call|>", [ROME]),
        "behind a sentence": Sample(f"Sure.{ROME_TEXT}", [ROME], "Sure."),
        "behind a sentence and a blank": Sample(f"Sure. {ROME_TEXT}", [ROME], "Sure. "),
        "before a sentence": Sample(f"{ROME_TEXT}Done.", [ROME], "Done."),
        "between sentences": Sample(f"Sure.{ROME_TEXT}Done.", [ROME], "Sure.Done."),
        "in a sentence": Sample(f"It writes {ROME_TEXT} to call.", [], f"It writes {ROME_TEXT} to call."),
        "an unknown tool": Sample("<|tool_call>call:zzz{a:1}<tool_call|>", [], "<|tool_call>call:zzz{a:1}<tool_call|>"),
        "an unknown tool, then a call": Sample(
            f"<|tool_call>call:zzz{{a:1}}<tool_call|>{ROME_TEXT}", [ROME], "<|tool_call>call:zzz{a:1}<tool_call|>"),
        "a placeholder in a sentence": Sample(
            "Write <|tool_call>call:NAME{ARGS}<tool_call|> to call.",
            [], "Write <|tool_call>call:NAME{ARGS}<tool_call|> to call."),
        "functiongemma": Sample(
            "<start_function_call>call:weather{city:<escape>Rome<escape>}<end_function_call><start_function_response>",
            [ROME]),
        "stripped, a blank": Sample("call: weather{city:Rome}", [ROME]),
        "stripped, a namespace": Sample("call:google:weather{city:Rome}", [ROME]),
        "a line end before the brace": _sample(f"weather\n{{city:{Q}Rome{Q}}}", ROME),
        "a colon behind the name": _sample(f"weather:{{city:{Q}Rome{Q}}}", ROME),
        "quotes around the name": _sample(f'"weather"{{city:{Q}Rome{Q}}}', ROME),
        "json behind call:": _sample('{"name": "weather", "arguments": {"city": "Rome"}}', ROME),
        "a tag at the end": Sample(f"<|tool_call>call:weather{{city:{Q}Rome{Q}}}<tool_call>", [ROME]),
        "flutter_gemma#228: a name twice": _sample(f"weather:weather{{city: {Q}Rome{Q}}}", ROME),
        "vllm#44532: the token as some tokenizers decode it": Sample(
            f"<|tool_call|>call:weather{{city:{Q}Rome{Q}}}<tool_call|>", [ROME]),
        "lmstudio#2388: LM Studio's marks": Sample(
            '[TOOL_REQUEST]{"name":"weather","arguments":{"city":"Rome"}}[END_TOOL_REQUEST]', [ROME]),
        "LM Studio's marks on lines": Sample(
            'Sure.\n[TOOL_REQUEST]\n{"name": "weather", "arguments": {"city": "Rome"}}\n[END_TOOL_REQUEST]\n', [ROME],
            "Sure."),
        "LM Studio's marks in a sentence": Sample(
            'It writes [TOOL_REQUEST]{"name": "now", "arguments": {}}[END_TOOL_REQUEST] to call.', [],
            'It writes [TOOL_REQUEST]{"name": "now", "arguments": {}}[END_TOOL_REQUEST] to call.'),
        "LM Studio's marks, an unknown tool": Sample(
            '[TOOL_REQUEST]{"name": "zzz", "arguments": {}}[END_TOOL_REQUEST]', [],
            '[TOOL_REQUEST]{"name": "zzz", "arguments": {}}[END_TOOL_REQUEST]'),
        "LM Studio's marks, no end": Sample(
            '[TOOL_REQUEST]{"name": "weather", "arguments": {"city": "Ro', [], invalid=("weather",)),
        "gemma#512: tool_name": Sample('{"tool_name": "weather", "parameters": {"city": "Rome"}}', [ROME]),
        "tool in place of name": Sample('```json\n{"tool": "weather", "args": {"city": "Rome"}}\n```', [ROME]),
        "tool, and name": Sample('{"tool": "now", "name": "weather", "args": {}}', [],
                                 '{"tool": "now", "name": "weather", "args": {}}'),
        "tool, without arguments": Sample('{"tool": "now"}', [], '{"tool": "now"}'),
        "tool, and another key": Sample('{"tool": "now", "args": {}, "why": "x"}', [],
                                        '{"tool": "now", "args": {}, "why": "x"}'),
        "flutter_gemma: a tool_code tag": Sample(
            '<tool_code>{"name": "weather", "arguments": {"city": "Rome"}}</tool_code>', [ROME]),
        "a tool_code tag with Python": Sample("<tool_code>\nprint(weather(city='Rome'))\n</tool_code>", [ROME]),
        "a tool_code tag with statements": Sample(
            "<tool_code>\nw = weather(city='Rome')\nn = now()  # both\nprint(w, n)\n</tool_code>", [ROME, ("now", {})]),
        "a tool_code tag without its end": Sample("<tool_code>\nweather(city='Ro", [], invalid=("weather",)),
        "a tool_code tag with other code": Sample("<tool_code>\nx = 1\n</tool_code>", [],
                                                  "<tool_code>\nx = 1\n</tool_code>"),
        "a tag in html": Sample("<call>the weather {x}</call>", [], "<call>the weather {x}</call>"),
        "claude-code-local#45: a collapsed token": Sample(
            f"<tool_call:sh{{command:{Q}echo 'test 1'{Q}}}><tool_call|>", [("sh", {"command": "echo 'test 1'"})]),
        "a collapsed token with its bar": Sample(f"<|tool_call:weather{{city:{Q}Rome{Q}}}<tool_call|>", [ROME]),
        "vllm#53444: words in place of arguments": _sample("weather in Rome", invalid=("weather",)),
        "square brackets": _sample(f"weather[city:{Q}Rome{Q}]", invalid=("weather",)),
        "ollama#18275: BEGIN_ARG": _sample("sh:\nBEGIN_ARG:\nls\nEND_ARG\n", invalid=("sh",)),
        "vllm#53431: words, then a call": Sample(
            "<|tool_call>- starting-task-overview\n<|channel>thought\n<channel|><|tool_call>:add{a:1}<tool_call|>",
            [("add", {"a": 1})], "- starting-task-overview"),
        "words that end the reply": Sample("<|tool_call>\nHere you go.", [], "Here you go."),
        "words in a sentence that ends": Sample("Use <|tool_call> always", [], "Use <|tool_call> always"),
        "FreeToken#346: a piece of a token behind a call": Sample(f"{ROME_TEXT}<|tool_call", [ROME]),
        "the token alone": Sample("<|tool_call>", []),
        "half a name": Sample("<|tool_call>call:weat", []),
        "a name": Sample("<|tool_call>call:weather", [], invalid=("weather",)),
        "a complete call, then a cut one": Sample(
            f"{ROME_TEXT}<|tool_call>call:sh{{command:{Q}l", [ROME], invalid=("sh",)),
        "a complete call, then a token": Sample(f"{ROME_TEXT}<|tool_call>", [ROME]),
    },
    "variations inside the arguments": {
        "sglang#39240": _sample(f"search{{query:weather in Tokyo{Q}}}", ("search", {"query": "weather in Tokyo"})),
        "sglang#39240: nested": _sample(
            f"search{{filters:{{city:Tokyo{Q}}},query:{Q}x{Q}}}",
            ("search", {"filters": {"city": "Tokyo"}, "query": "x"})),
        "ollama#15315": _sample(
            f"grep{{include:{Q}*.py{Q},pattern:':\\s*\\w+'{Q}}}",
            ("grep", {"include": "*.py", "pattern": ":\\s*\\w+"})),
        "Rapid-MLX": _sample("add{a:1}}", ("add", {"a": 1})),
        "ollama#15315, LiteRT-LM#2418": _sample(f"sh{{command:{Q}ls}}", ("sh", {"command": "ls"})),
        "ollama#18390": _sample(
            f"flow{{connections:{{Basic LLM Chain:{{main:[[{{node:{Q}Chat Model{Q},index:0}}]]}}}},name:{Q}x{Q}}}",
            ("flow", {"connections": {"Basic LLM Chain": {"main": [[{"node": "Chat Model", "index": 0}]]}},
                      "name": "x"})),
        "half quoted": Sample('call:search{query:"machine learning" site:arxiv.org,limit:5}',
                              [("search", {"query": '"machine learning" site:arxiv.org', "limit": 5})]),
        "ollama#15315: backticks": _sample(
            "write{content:`.coin {\n  padding: 20px, 3px;\n}`}",
            ("write", {"content": ".coin {\n  padding: 20px, 3px;\n}"})),
        "opener missing, more keys": _sample(
            f"search{{query:Paris, France{Q},limit:5}}", ("search", {"query": "Paris, France", "limit": 5})),
        "opener missing in a list": _sample(f"search{{tags:[a b{Q},{Q}c{Q}]}}", ("search", {"tags": ["a b", "c"]})),
        "closer missing in an object": _sample(
            f"search{{filters:{{city:{Q}Rome}}}}", ("search", {"filters": {"city": "Rome"}})),
        "closer missing, braces in it": _sample(f"sh{{command:{Q}echo ${{X}}}}", ("sh", {"command": "echo ${X}"})),
        "closer missing in a list": _sample(f"search{{tags:[{Q}a{Q},{Q}b]}}", ("search", {"tags": ["a", "b"]})),
        "closer missing, another call": Sample(
            f"<|tool_call>call:sh{{command:{Q}ls}}<tool_call|><|tool_call>call:sh{{command:{Q}pwd{Q}}}<tool_call|>",
            [("sh", {"command": "ls"}), ("sh", {"command": "pwd"})]),
        "closer missing, more keys": _sample(f"write{{path:{Q}a.txt,content:{Q}hello{Q}}}", invalid=("write",)),
        "doubled tokens": _sample(f"weather{{city:{Q}{Q}Rome{Q}{Q}}}", ROME),
        "quote token behind double quotes": _sample(f'weather{{city:"Rome"{Q}}}', ROME),
        "plain quotes": _sample('weather{"city":"Rome"}', ROME),
        "equals": _sample('weather{city="Rome"}', ROME),
        "three braces too many": _sample("add{a:1}}}}", ("add", {"a": 1})),
        "a bracket too many": _sample("add{a:1}]", ("add", {"a": 1})),
        "blanks": _sample(f" weather {{ city : {Q}Rome{Q} , }}", ROME),
        "comma behind the last": _sample(f"weather{{city:{Q}Rome{Q},}}", ROME),
        "a key twice": _sample(f"weather{{city:{Q}Oslo{Q},city:{Q}Rome{Q}}}", ROME),
        "empty string": _sample(f"weather{{city:{Q}{Q}}}", ("weather", {"city": ""})),
        "url": Sample("call:open{path:https://a.org/?b=c&d=1,2}", [("open", {"path": "https://a.org/?b=c&d=1,2"})]),
        "windows path": _sample('open{path:"C:\\new\\table.txt"}', ("open", {"path": "C:\\new\\table.txt"})),
        "windows path of a user": _sample('open{path:"C:\\Users\\me"}', ("open", {"path": "C:\\Users\\me"})),
        "windows path, escaped": _sample(
            'open{path:"C:\\\\new\\\\table.txt"}', ("open", {"path": "C:\\new\\table.txt"})),
        "windows path in tokens": _sample(f"open{{path:{Q}C:\\new{Q}}}", ("open", {"path": "C:\\new"})),
        "windows path in a command": _sample(
            'sh{command:"dir C:\\Users\\new x"}', ("sh", {"command": "dir C:\\Users\\new x"})),
        "ambiguous windows path": _sample('sh{command:"cd C:\\new && dir"}', invalid=("sh",)),
        "windows share": _sample('open{path:"\\\\nas\\new"}', ("open", {"path": "\\\\nas\\new"})),
        "windows path in json": Sample(
            '{"name": "open", "parameters": {"path": "C:\\new\\table.txt"}}',
            [("open", {"path": "C:\\new\\table.txt"})]),
        "line ends": _sample('write{content:"one\\ntwo"}', ("write", {"content": "one\ntwo"})),
        "a regular expression": _sample('grep{pattern:"\\bfoo\\d+"}', ("grep", {"pattern": "\\bfoo\\d+"})),
        "plain quote, then a quote token": _sample(f"weather{{city:'Rome{Q}}}", ROME),
        "plain quote, then a quote token, more keys": _sample(
            f"write{{path:'a.txt{Q},content:{Q}it's{Q}}}", ("write", {"path": "a.txt", "content": "it's"})),
        "quotes within quotes": _sample('sh{command:"echo "hi""}', ("sh", {"command": 'echo "hi"'})),
        "two strings in one": _sample(
            'search{query:"deep learning" OR "machine learning"}',
            ("search", {"query": '"deep learning" OR "machine learning"'})),
        "yzma#243: a comma is missing": _sample(
            f"search{{query:{Q}look{Q}limit:90,filters:{{k:1}}}}", ("search", {"query": "look", "limit": 90,
                                                                           "filters": {"k": 1}})),
        "commas are missing, line ends": _sample(
            f"search{{query:{Q}look{Q}\ntags:[a]\nlimit:90\n}}", ("search", {"query": "look", "tags": ["a"],
                                                                        "limit": 90})),
        "semicolons": _sample(f"search{{query:{Q}look{Q};limit:90}}", ("search", {"query": "look", "limit": 90})),
        "quoted Gemma notation": _sample(
            'search{"tags":"[a, b]","filters":"{city: Rome}"}',
            ("search", {"tags": ["a", "b"], "filters": {"city": "Rome"}})),
        "quoted Python": _sample(
            f"search{{filters:{Q}{{'a': [1, True]}}{Q}}}", ("search", {"filters": {"a": [1, True]}})),
        "closer missing in a list, more keys": _sample(f"search{{tags:[{Q}a{Q},{Q}b],limit:3}}", invalid=("search",)),
        "closer missing in an object, more keys": _sample(
            f"search{{filters:{{city:{Q}Rome}},query:{Q}x{Q},limit:3}}", invalid=("search",)),
        "closer missing, words like keys": _sample(
            f"sh{{command:{Q}f(a, b: int)}}", ("sh", {"command": "f(a, b: int)"})),
        "a list that is not closed": _sample("search{tags:[a}", invalid=("search",)),
        "a list in a list that is not closed": _sample("search{tags:[[1,2],limit:3}", invalid=("search",)),
        "no value": _sample("weather{city}", invalid=("weather",)),
        "a brace too few": _sample(f"weather{{city:{Q}Rome{Q}", ROME),
        "a brace too few, words": _sample("weather{city:Rome", ROME),
        "a brace too few, nested": _sample(
            f"search{{filters:{{city:{Q}Rome{Q}}}", ("search", {"filters": {"city": "Rome"}})),
        "a bracket too few": _sample("search{tags:[a,b", ("search", {"tags": ["a", "b"]})),
        "a value that is missing": _sample(f"write{{path:{Q}a{Q},content:", invalid=("write",)),
        "a comma, and no more": _sample(f"write{{path:{Q}a{Q},", invalid=("write",)),
        "vllm#44715: quote tokens in place of quotes": _sample(
            f"write{{content:{Q}r = duckdb.sql({Q}{Q}{Q} SELECT 1 {Q}{Q}{Q}).df(){Q},path:{Q}a.py{Q}}}",
            ("write", {"content": 'r = duckdb.sql(""" SELECT 1 """).df()', "path": "a.py"})),
        "quote tokens around a word of a string": _sample(
            f"sh{{command:{Q}echo {Q}hi{Q} | wc -c{Q}}}", ("sh", {"command": 'echo "hi" | wc -c'})),
        "quote tokens, the last word": _sample(f"sh{{command:{Q}echo {Q}hi{Q}{Q}}}", ("sh", {"command": 'echo "hi"'})),
        "quote tokens, one alone": _sample(f"sh{{command:{Q}echo {Q}hi{Q}}}", invalid=("sh",)),
        "quote tokens, the last one missing": _sample(f"sh{{command:{Q}echo {Q}hi{Q} x}}", invalid=("sh",)),
        "words behind the last quote token": _sample(f"sh{{command:{Q}ls{Q}\\n}}", invalid=("sh",)),
        "quote tokens, in a nested object": _sample(
            f"search{{filters:{{note:{Q}say {Q}hi{Q} now{Q}}},limit:3}}",
            ("search", {"filters": {"note": 'say "hi" now'}, "limit": 3})),
        "quote tokens, more keys of a free object": _sample(
            f"search{{filters:{{note:{Q}say {Q}hi{Q} now{Q},b:1}}}}", invalid=("search",)),
        "quote tokens, a comma behind one": _sample(f"sh{{command:{Q}f({Q}a{Q}, {Q}b{Q}){Q}}}", invalid=("sh",)),
        "quote tokens, what looks like a key behind a comma": _sample(
            f"sh{{command:{Q}f({Q}a{Q}, b: int){Q}}}", invalid=("sh",)),
        "quote tokens, a key of the tool in the string": _sample(
            f"write{{path:{Q}a.txt, content:{Q}x{Q} y{Q}}}", invalid=("write",)),
        "quote tokens in a list": _sample(f"search{{tags:[{Q}a {Q}b{Q} c{Q}]}}", invalid=("search",)),
        "slime#2097: quote tokens in two halves": _sample('weather{city:<|"Rome"|>}', ROME),
        "quote tokens in two halves, in a list": _sample('search{tags:[<|"a"|>,<|"b, c"|>]}',
                                                         ("search", {"tags": ["a", "b, c"]})),
        "ollama#15315: a raw string of Rust": _sample(
            f'write{{path:{Q}a.rs{Q},content:r#"assert_eq!(f("0"), vec![1, 2]);\n}}"#}}',
            ("write", {"path": "a.rs", "content": 'assert_eq!(f("0"), vec![1, 2]);\n}'})),
        "a raw string, more keys": _sample(
            f'write{{content:r#"a, "b""#,path:{Q}a.rs{Q}}}', ("write", {"content": 'a, "b"', "path": "a.rs"})),
        "a raw string without its end": _sample('write{content:r#"a, "b""}', invalid=("write",)),
        "words like a raw string": _sample("sh{command:r#x}", ("sh", {"command": "r#x"})),
        "two commas": _sample(f"search{{query:{Q}a{Q},,limit:5,,filters:{{a:1,,b:2}}}}",
                              ("search", {"query": "a", "limit": 5, "filters": {"a": 1, "b": 2}})),
        "two commas behind words": _sample("search{query:Rome,,limit:5}", ("search", {"query": "Rome,", "limit": 5})),
        "two commas at the end": _sample("add{a:1,b:2,,}", ("add", {"a": 1, "b": 2})),
        "two colons": _sample("sh{command::wq}", ("sh", {"command": ":wq"})),
        "a nested key with signs": _sample(
            f"flow{{connections:{{Edit Fields (Set) -> Don't:{{a:{Q}b{Q}}}}}}}",
            ("flow", {"connections": {"Edit Fields (Set) -> Don't": {"a": "b"}}})),
    },
    "a bare value by the schema": {
        "vllm test_gemma4_streaming_reasoning": _sample("find{zip:90210}", ("find", {"zip": "90210"})),
        "dust#27777, auto-mobile#4246": Sample("call:find{zip:02134}", [("find", {"zip": "02134"})]),
        "version": Sample("call:find{version:1.10}", [("find", {"version": "1.10"})]),
        "beyond a float": Sample("call:find{id:1e999}", [("find", {"id": "1e999"})]),
        "true": Sample("call:conf{label:true,on:true}", [("conf", {"label": "true", "on": True})]),
        "phone": Sample("call:find{phone:+390612345}", [("find", {"phone": "+390612345"})]),
        "in a list": Sample("call:find{ids:[007,1.0,true]}", [("find", {"ids": ["007", "1.0", "true"]})]),
        "null": Sample("call:nullable{value:null}", [("nullable", {"value": None})]),
        "null, number": Sample("call:nullable{value:5}", [("nullable", {"value": "5"})]),
        "null for a required string": Sample("call:must{label:null}", [("must", {"label": "null"})]),
        "json for a string": _sample(
            'run_js{data:{"text":"hi", "n":[1,2]}}', ("run_js", {"data": '{"text":"hi", "n":[1,2]}'})),
        "a list for a string": Sample("call:run_js{data:[1, a]}", [("run_js", {"data": "[1, a]"})]),
        "quoted number": _sample(f"add{{a:{Q}42{Q}}}", ("add", {"a": 42})),
        "quoted boolean": _sample(f"conf{{on:{Q}true{Q}}}", ("conf", {"on": True})),
        "quoted object": _sample(f'conf{{config:{Q}{{"a": 1}}{Q}}}', ("conf", {"config": {"a": 1}})),
        "quoted list": _sample(f'search{{tags:{Q}["a"]{Q}}}', ("search", {"tags": ["a"]})),
        "quoted words": _sample(f"add{{a:{Q}many{Q}}}", ("add", {"a": "many"})),
        "json number for a string": Sample(
            '{"name": "find", "parameters": {"version": 1.10}}', [("find", {"version": "1.10"})]),
        "python": Sample("find(zip=02134)", [("find", {"zip": "02134"})]),
        "number for a number": Sample("call:conf{ratio:1}", [("conf", {"ratio": 1})]),
        "digits beyond an integer": Sample(f"call:find{{id:{'9' * 5000}}}", [("find", {"id": "9" * 5000})]),
    },
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
        "a blank before the bracket": Sample("```tool_code\nweather (city='Rome')\n```", [ROME]),
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
        "a name alone in tags": Sample("The <tool>now</tool> is bound.", [], "The <tool>now</tool> is bound."),
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
