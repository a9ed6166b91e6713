"""Reported calls in variations of their form: around a call, inside its arguments, and values without quotes."""

from __future__ import annotations

from tests.unit_tests.tool_text.sample_calls import ROME, ROME_TEXT, Q, Sample, wrapped

VARIATIONS: dict[str, dict[str, Sample]] = {
    "variations around a call": {
        "vllm#53444": Sample(f"<|tool_call>:call:sh{{command:{Q}pytest{Q}}}", [("sh", {"command": "pytest"})]),
        "tensai#217, flutter_gemma#238, mlx-vlm": Sample(
            f"<|tool_call>weather{{city:{Q}Rome{Q}}}<tool_call|>", [ROME]),
        "vllm test_gemma4_regex": Sample(f"<call>weather{{city:{Q}Rome{Q}}}", [ROME]),
        "vmlx-swift#61": wrapped('search({"tags":["a"]})', ("search", {"tags": ["a"]})),
        "omlx#1830, mlx-vlm#1379": wrapped(f"google:mcp:text:make-pdf{{title:{Q}A{Q}}}", ("make-pdf", {"title": "A"})),
        "vllm#53431": wrapped(f" weather{{city:{Q}Rome{Q}}}", ROME),
        "omlx#552": Sample('<|tool_call>{"name": "weather", "arguments": {"city": "Rome"}}<tool_call|>', [ROME]),
        "words before the call": Sample("<|tool_call>garbage call:add{a:1}<tool_call|>", [("add", {"a": 1})]),
        "spaces": Sample("<|tool_call>  call: add {a:1} <tool_call|>", [("add", {"a": 1})]),
        "words after the call": Sample("<|tool_call>call:add{a:1} zzz<tool_call|>", [("add", {"a": 1})]),
        "arguments after the call": wrapped(f"write{{path:{Q}a{Q}}},content:{Q}b{Q}}}", invalid=("write",)),
        "only a colon": Sample("<|tool_call>:add{a:1}<tool_call|>", [("add", {"a": 1})]),
        "no arguments": wrapped("now", ("now", {})),
        "empty brackets": wrapped("now()", ("now", {})),
        "two openers": Sample(f"<|tool_call><|tool_call>call:weather{{city:{Q}Rome{Q}}}<tool_call|>", [ROME]),
        "two closers": Sample(f"{ROME_TEXT}<tool_call|>", [ROME]),
        "doubled braces": wrapped(f"weather{{{{city:{Q}Rome{Q}}}}}", ROME),
        "a dot in the name": wrapped(f"fs.read{{path:{Q}a{Q}}}", ("fs.read", {"path": "a"})),
        "a namespace of dots": wrapped(f"default_api.fs.read{{path:{Q}a{Q}}}", ("fs.read", {"path": "a"})),
        "a namespace of slashes": wrapped(f"mcp/web-search{{q:{Q}a{Q}}}", ("web-search", {"q": "a"})),
        "json in a namespace": Sample('{"name": "google:weather", "args": {"city": "Rome"}}', [ROME]),
        "a list between the tokens": Sample(
            '<|tool_call>[{"name": "now", "arguments": {}}]<tool_call|>', [("now", {})]),
        "python between the tokens": Sample("<|tool_call>weather(city='Rome')<tool_call|>", [ROME]),
        "after a sentence": Sample(f"Sure.{ROME_TEXT}", [ROME], "Sure."),
        "after a sentence and a space": Sample(f"Sure. {ROME_TEXT}", [ROME], "Sure. "),
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
        "stripped, a space": Sample("call: weather{city:Rome}", [ROME]),
        "stripped, a namespace": Sample("call:google:weather{city:Rome}", [ROME]),
        "a line end before the brace": wrapped(f"weather\n{{city:{Q}Rome{Q}}}", ROME),
        "a colon after the name": wrapped(f"weather:{{city:{Q}Rome{Q}}}", ROME),
        "quotes around the name": wrapped(f'"weather"{{city:{Q}Rome{Q}}}', ROME),
        "json after call:": wrapped('{"name": "weather", "arguments": {"city": "Rome"}}', ROME),
        "a tag at the end": Sample(f"<|tool_call>call:weather{{city:{Q}Rome{Q}}}<tool_call>", [ROME]),
        "flutter_gemma#228: a name twice": wrapped(f"weather:weather{{city: {Q}Rome{Q}}}", ROME),
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
        "vllm#53444: words in place of arguments": wrapped("weather in Rome", invalid=("weather",)),
        "square brackets": wrapped(f"weather[city:{Q}Rome{Q}]", invalid=("weather",)),
        "ollama#18275: BEGIN_ARG": wrapped("sh:\nBEGIN_ARG:\nls\nEND_ARG\n", invalid=("sh",)),
        "vllm#53431: words, then a call": Sample(
            "<|tool_call>- starting-task-overview\n<|channel>thought\n<channel|><|tool_call>:add{a:1}<tool_call|>",
            [("add", {"a": 1})], "- starting-task-overview"),
        "words that end the reply": Sample("<|tool_call>\nHere you go.", [], "Here you go."),
        "words in a sentence that ends": Sample("Use <|tool_call> always", [], "Use <|tool_call> always"),
        "FreeToken#346: a piece of a token after a call": Sample(f"{ROME_TEXT}<|tool_call", [ROME]),
        "only the token": Sample("<|tool_call>", []),
        "half a name": Sample("<|tool_call>call:weat", []),
        "a name": Sample("<|tool_call>call:weather", [], invalid=("weather",)),
        "a complete call, then a truncated call": Sample(
            f"{ROME_TEXT}<|tool_call>call:sh{{command:{Q}l", [ROME], invalid=("sh",)),
        "a complete call, then a token": Sample(f"{ROME_TEXT}<|tool_call>", [ROME]),
    },
    "variations inside the arguments": {
        "sglang#39240": wrapped(f"search{{query:weather in Tokyo{Q}}}", ("search", {"query": "weather in Tokyo"})),
        "sglang#39240: nested": wrapped(
            f"search{{filters:{{city:Tokyo{Q}}},query:{Q}x{Q}}}",
            ("search", {"filters": {"city": "Tokyo"}, "query": "x"})),
        "ollama#15315": wrapped(
            f"grep{{include:{Q}*.py{Q},pattern:':\\s*\\w+'{Q}}}",
            ("grep", {"include": "*.py", "pattern": ":\\s*\\w+"})),
        "Rapid-MLX": wrapped("add{a:1}}", ("add", {"a": 1})),
        "ollama#15315, LiteRT-LM#2418": wrapped(f"sh{{command:{Q}ls}}", ("sh", {"command": "ls"})),
        "ollama#18390": wrapped(
            f"flow{{connections:{{Basic LLM Chain:{{main:[[{{node:{Q}Chat Model{Q},index:0}}]]}}}},name:{Q}x{Q}}}",
            ("flow", {"connections": {"Basic LLM Chain": {"main": [[{"node": "Chat Model", "index": 0}]]}},
                      "name": "x"})),
        "half quoted": Sample('call:search{query:"machine learning" site:arxiv.org,limit:5}',
                              [("search", {"query": '"machine learning" site:arxiv.org', "limit": 5})]),
        "ollama#15315: backticks": wrapped(
            "write{content:`.coin {\n  padding: 20px, 3px;\n}`}",
            ("write", {"content": ".coin {\n  padding: 20px, 3px;\n}"})),
        "opener missing, more keys": wrapped(
            f"search{{query:Paris, France{Q},limit:5}}", ("search", {"query": "Paris, France", "limit": 5})),
        "opener missing in a list": wrapped(f"search{{tags:[a b{Q},{Q}c{Q}]}}", ("search", {"tags": ["a b", "c"]})),
        "closer missing in an object": wrapped(
            f"search{{filters:{{city:{Q}Rome}}}}", ("search", {"filters": {"city": "Rome"}})),
        "closer missing, braces in it": wrapped(f"sh{{command:{Q}echo ${{X}}}}", ("sh", {"command": "echo ${X}"})),
        "closer missing in a list": wrapped(f"search{{tags:[{Q}a{Q},{Q}b]}}", ("search", {"tags": ["a", "b"]})),
        "closer missing, another call": Sample(
            f"<|tool_call>call:sh{{command:{Q}ls}}<tool_call|><|tool_call>call:sh{{command:{Q}pwd{Q}}}<tool_call|>",
            [("sh", {"command": "ls"}), ("sh", {"command": "pwd"})]),
        "closer missing, more keys": wrapped(f"write{{path:{Q}a.txt,content:{Q}hello{Q}}}", invalid=("write",)),
        "doubled tokens": wrapped(f"weather{{city:{Q}{Q}Rome{Q}{Q}}}", ROME),
        "quote token after double quotes": wrapped(f'weather{{city:"Rome"{Q}}}', ROME),
        "plain quotes": wrapped('weather{"city":"Rome"}', ROME),
        "equals": wrapped('weather{city="Rome"}', ROME),
        "three braces too many": wrapped("add{a:1}}}}", ("add", {"a": 1})),
        "a bracket too many": wrapped("add{a:1}]", ("add", {"a": 1})),
        "spaces": wrapped(f" weather {{ city : {Q}Rome{Q} , }}", ROME),
        "comma after the last": wrapped(f"weather{{city:{Q}Rome{Q},}}", ROME),
        "a key twice": wrapped(f"weather{{city:{Q}Oslo{Q},city:{Q}Rome{Q}}}", ROME),
        "empty string": wrapped(f"weather{{city:{Q}{Q}}}", ("weather", {"city": ""})),
        "url": Sample("call:open{path:https://a.org/?b=c&d=1,2}", [("open", {"path": "https://a.org/?b=c&d=1,2"})]),
        "windows path": wrapped('open{path:"C:\\new\\table.txt"}', ("open", {"path": "C:\\new\\table.txt"})),
        "windows path of a user": wrapped('open{path:"C:\\Users\\me"}', ("open", {"path": "C:\\Users\\me"})),
        "windows path, escaped": wrapped(
            'open{path:"C:\\\\new\\\\table.txt"}', ("open", {"path": "C:\\new\\table.txt"})),
        "windows path in tokens": wrapped(f"open{{path:{Q}C:\\new{Q}}}", ("open", {"path": "C:\\new"})),
        "windows path in a command": wrapped(
            'sh{command:"dir C:\\Users\\new x"}', ("sh", {"command": "dir C:\\Users\\new x"})),
        "ambiguous windows path": wrapped('sh{command:"cd C:\\new && dir"}', invalid=("sh",)),
        "windows share": wrapped('open{path:"\\\\nas\\new"}', ("open", {"path": "\\\\nas\\new"})),
        "windows path in json": Sample(
            '{"name": "open", "parameters": {"path": "C:\\new\\table.txt"}}',
            [("open", {"path": "C:\\new\\table.txt"})]),
        "line ends": wrapped('write{content:"one\\ntwo"}', ("write", {"content": "one\ntwo"})),
        "a regular expression": wrapped('grep{pattern:"\\bfoo\\d+"}', ("grep", {"pattern": "\\bfoo\\d+"})),
        "plain quote, then a quote token": wrapped(f"weather{{city:'Rome{Q}}}", ROME),
        "plain quote, then a quote token, more keys": wrapped(
            f"write{{path:'a.txt{Q},content:{Q}it's{Q}}}", ("write", {"path": "a.txt", "content": "it's"})),
        "quotes within quotes": wrapped('sh{command:"echo "hi""}', ("sh", {"command": 'echo "hi"'})),
        "two strings in one": wrapped(
            'search{query:"deep learning" OR "machine learning"}',
            ("search", {"query": '"deep learning" OR "machine learning"'})),
        "yzma#243: a comma is missing": wrapped(
            f"search{{query:{Q}look{Q}limit:90,filters:{{k:1}}}}", ("search", {"query": "look", "limit": 90,
                                                                           "filters": {"k": 1}})),
        "commas are missing, line ends": wrapped(
            f"search{{query:{Q}look{Q}\ntags:[a]\nlimit:90\n}}", ("search", {"query": "look", "tags": ["a"],
                                                                        "limit": 90})),
        "semicolons": wrapped(f"search{{query:{Q}look{Q};limit:90}}", ("search", {"query": "look", "limit": 90})),
        "quoted Gemma notation": wrapped(
            'search{"tags":"[a, b]","filters":"{city: Rome}"}',
            ("search", {"tags": ["a", "b"], "filters": {"city": "Rome"}})),
        "quoted Python": wrapped(
            f"search{{filters:{Q}{{'a': [1, True]}}{Q}}}", ("search", {"filters": {"a": [1, True]}})),
        "closer missing in a list, more keys": wrapped(f"search{{tags:[{Q}a{Q},{Q}b],limit:3}}", invalid=("search",)),
        "closer missing in an object, more keys": wrapped(
            f"search{{filters:{{city:{Q}Rome}},query:{Q}x{Q},limit:3}}", invalid=("search",)),
        "closer missing, words like keys": wrapped(
            f"sh{{command:{Q}f(a, b: int)}}", ("sh", {"command": "f(a, b: int)"})),
        "a list that is not closed": wrapped("search{tags:[a}", invalid=("search",)),
        "a list in a list that is not closed": wrapped("search{tags:[[1,2],limit:3}", invalid=("search",)),
        "no value": wrapped("weather{city}", invalid=("weather",)),
        "a missing brace": wrapped(f"weather{{city:{Q}Rome{Q}", ROME),
        "a missing brace, words": wrapped("weather{city:Rome", ROME),
        "a missing brace, nested": wrapped(
            f"search{{filters:{{city:{Q}Rome{Q}}}", ("search", {"filters": {"city": "Rome"}})),
        "a missing bracket": wrapped("search{tags:[a,b", ("search", {"tags": ["a", "b"]})),
        "a value that is missing": wrapped(f"write{{path:{Q}a{Q},content:", invalid=("write",)),
        "a comma, and no more": wrapped(f"write{{path:{Q}a{Q},", invalid=("write",)),
        "vllm#44715: quote tokens in place of quotes": wrapped(
            f"write{{content:{Q}r = duckdb.sql({Q}{Q}{Q} SELECT 1 {Q}{Q}{Q}).df(){Q},path:{Q}a.py{Q}}}",
            ("write", {"content": 'r = duckdb.sql(""" SELECT 1 """).df()', "path": "a.py"})),
        "quote tokens around a word of a string": wrapped(
            f"sh{{command:{Q}echo {Q}hi{Q} | wc -c{Q}}}", ("sh", {"command": 'echo "hi" | wc -c'})),
        "quote tokens, the last word": wrapped(f"sh{{command:{Q}echo {Q}hi{Q}{Q}}}", ("sh", {"command": 'echo "hi"'})),
        "quote tokens, an odd number": wrapped(f"sh{{command:{Q}echo {Q}hi{Q}}}", invalid=("sh",)),
        "quote tokens, the last one missing": wrapped(f"sh{{command:{Q}echo {Q}hi{Q} x}}", invalid=("sh",)),
        "words after the last quote token": wrapped(f"sh{{command:{Q}ls{Q}\\n}}", invalid=("sh",)),
        "quote tokens, in a nested object": wrapped(
            f"search{{filters:{{note:{Q}say {Q}hi{Q} now{Q}}},limit:3}}",
            ("search", {"filters": {"note": 'say "hi" now'}, "limit": 3})),
        "quote tokens, more keys of a free object": wrapped(
            f"search{{filters:{{note:{Q}say {Q}hi{Q} now{Q},b:1}}}}", invalid=("search",)),
        "quote tokens, a comma after one": wrapped(f"sh{{command:{Q}f({Q}a{Q}, {Q}b{Q}){Q}}}", invalid=("sh",)),
        "quote tokens, what looks like a key after a comma": wrapped(
            f"sh{{command:{Q}f({Q}a{Q}, b: int){Q}}}", invalid=("sh",)),
        "quote tokens, a key of the tool in the string": wrapped(
            f"write{{path:{Q}a.txt, content:{Q}x{Q} y{Q}}}", invalid=("write",)),
        "quote tokens in a list": wrapped(f"search{{tags:[{Q}a {Q}b{Q} c{Q}]}}", invalid=("search",)),
        "slime#2097: quote tokens in two halves": wrapped('weather{city:<|"Rome"|>}', ROME),
        "quote tokens in two halves, in a list": wrapped('search{tags:[<|"a"|>,<|"b, c"|>]}',
                                                         ("search", {"tags": ["a", "b, c"]})),
        "ollama#15315: a raw string of Rust": wrapped(
            f'write{{path:{Q}a.rs{Q},content:r#"assert_eq!(f("0"), vec![1, 2]);\n}}"#}}',
            ("write", {"path": "a.rs", "content": 'assert_eq!(f("0"), vec![1, 2]);\n}'})),
        "a raw string, more keys": wrapped(
            f'write{{content:r#"a, "b""#,path:{Q}a.rs{Q}}}', ("write", {"content": 'a, "b"', "path": "a.rs"})),
        "a raw string without its end": wrapped('write{content:r#"a, "b""}', invalid=("write",)),
        "words like a raw string": wrapped("sh{command:r#x}", ("sh", {"command": "r#x"})),
        "single quotes around apostrophes and a comma": wrapped(
            "write{path:'it's a.txt',content:'don't, ok: {x}',overwrite:true}",
            ("write", {"path": "it's a.txt", "content": "don't, ok: {x}", "overwrite": True})),
        "single quotes around two strings": wrapped(
            "search{query:'deep learning' OR 'machine, learning'}",
            ("search", {"query": "'deep learning' OR 'machine, learning'"})),
        "two commas": wrapped(f"search{{query:{Q}a{Q},,limit:5,,filters:{{a:1,,b:2}}}}",
                              ("search", {"query": "a", "limit": 5, "filters": {"a": 1, "b": 2}})),
        "two commas after words": wrapped("search{query:Rome,,limit:5}", ("search", {"query": "Rome,", "limit": 5})),
        "two commas at the end": wrapped("add{a:1,b:2,,}", ("add", {"a": 1, "b": 2})),
        "two colons": wrapped("sh{command::wq}", ("sh", {"command": ":wq"})),
        "a nested key with signs": wrapped(
            f"flow{{connections:{{Edit Fields (Set) -> Don't:{{a:{Q}b{Q}}}}}}}",
            ("flow", {"connections": {"Edit Fields (Set) -> Don't": {"a": "b"}}})),
    },
    "a bare value by the schema": {
        "vllm test_gemma4_streaming_reasoning": wrapped("find{zip:90210}", ("find", {"zip": "90210"})),
        "dust#27777, auto-mobile#4246": Sample("call:find{zip:02134}", [("find", {"zip": "02134"})]),
        "version": Sample("call:find{version:1.10}", [("find", {"version": "1.10"})]),
        "beyond a float": Sample("call:find{id:1e999}", [("find", {"id": "1e999"})]),
        "true": Sample("call:conf{label:true,on:true}", [("conf", {"label": "true", "on": True})]),
        "phone": Sample("call:find{phone:+390612345}", [("find", {"phone": "+390612345"})]),
        "in a list": Sample("call:find{ids:[007,1.0,true]}", [("find", {"ids": ["007", "1.0", "true"]})]),
        "null": Sample("call:nullable{value:null}", [("nullable", {"value": None})]),
        "null, number": Sample("call:nullable{value:5}", [("nullable", {"value": "5"})]),
        "null for a required string": Sample("call:must{label:null}", [("must", {"label": "null"})]),
        "json for a string": wrapped(
            'run_js{data:{"text":"hi", "n":[1,2]}}', ("run_js", {"data": '{"text":"hi", "n":[1,2]}'})),
        "a list for a string": Sample("call:run_js{data:[1, a]}", [("run_js", {"data": "[1, a]"})]),
        "quoted number": wrapped(f"add{{a:{Q}42{Q}}}", ("add", {"a": 42})),
        "quoted boolean": wrapped(f"conf{{on:{Q}true{Q}}}", ("conf", {"on": True})),
        "quoted object": wrapped(f'conf{{config:{Q}{{"a": 1}}{Q}}}', ("conf", {"config": {"a": 1}})),
        "quoted list": wrapped(f'search{{tags:{Q}["a"]{Q}}}', ("search", {"tags": ["a"]})),
        "quoted words": wrapped(f"add{{a:{Q}many{Q}}}", ("add", {"a": "many"})),
        "json number for a string": Sample(
            '{"name": "find", "parameters": {"version": 1.10}}', [("find", {"version": "1.10"})]),
        "python": Sample("find(zip=02134)", [("find", {"zip": "02134"})]),
        "number for a number": Sample("call:conf{ratio:1}", [("conf", {"ratio": 1})]),
        "digits beyond an integer": Sample(f"call:find{{id:{'9' * 5000}}}", [("find", {"id": "9" * 5000})]),
    },
}  # fmt: skip
