// A transform of the AssemblyScript compiler: writes the manifest of the policy into the module.
//
// It finds the call `plugin(name, description, inputs, policy, …)` at the top of the policy's file, whose first three
// arguments have to be literals, and makes of them the custom section `sgl.policy`. It imports nothing, so that it runs
// wherever the compiler is installed.

const COLUMNS = `load running waiting queued_tokens kv_usage throughput latency_ewma report_age_ms prefill_load
  prefill_tokens uncached_tokens tokens_in_flight pending_cost oldest_pending_ms ttft_ewma tpot_ewma load_elsewhere
  prefix_match`;
const REQUEST = `request_text request_tokens prompt_bytes prompt_tokens prompt_tokens_exact max_tokens stream route
  session client_key prefix_hashes arrival_rate model waited_ms may_wait_ms held leg random now_ns`;
const INPUTS = `healthy excluded ${COLUMNS} ${REQUEST}`.split(/\s+/);
const PREFIXES = ["header:", "config_header:", "field:", "query:"];

function text(value) {
  const bytes = new TextEncoder().encode(value);
  if (bytes.length > 0xffff) throw new Error(`the text "${value.slice(0, 40)}…" is too long for a manifest`);
  return [0xda, bytes.length >> 8, bytes.length & 0xff, ...bytes];
}

function manifest({ name, description, version, inputs, serial }) {
  const list = [0xdc, inputs.length >> 8, inputs.length & 0xff, ...inputs.flatMap(text)];
  const entries = [
    ["abi", [1]],
    ["name", text(name)],
    ["version", text(version)],
    ["description", text(description)],
    ["wire", text("columns")],
    ["inputs", list],
    ["concurrency", text(serial ? "serial" : "parallel")],
  ];
  return new Uint8Array([0x80 | entries.length, ...entries.flatMap(([key, value]) => [...text(key), ...value])]);
}

function distance(one, other) {
  let row = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++)
      next.push(Math.min(row[j - 1] + (one[i - 1] !== other[j - 1]), row[j] + 1, next[j - 1] + 1));
    row = next;
  }
  return row[other.length];
}

function checkInput(name, at) {
  if (INPUTS.includes(name) || PREFIXES.some((prefix) => name.startsWith(prefix) && name.length > prefix.length)) return;
  const nearest = INPUTS.reduce((best, known) => (distance(name, known) < distance(name, best) ? known : best));
  throw new Error(`${at}: unknown input "${name}"; did you mean "${nearest}"? All: ${INPUTS.join(", ")}, ${PREFIXES.join("…, ")}…`);
}

export default class SglManifest {
  afterParse(parser) {
    const entries = parser.sources.filter((source) => source.sourceKind === 1);
    const calls = entries.flatMap((source) => source.statements).filter((statement) => this.isPlugin(statement));
    if (calls.length !== 1)
      throw new Error(`expected one call plugin(name, description, inputs, policy) at the top of the policy's file, found ${calls.length}`);
    this.manifest = manifest(this.literals(calls[0].expression));
  }

  afterCompile(module) {
    module.addCustomSection("sgl.policy", this.manifest);
  }

  // A call of `plugin` as a statement.
  isPlugin(statement) {
    return statement.expression?.args !== undefined && statement.expression.expression?.text === "plugin";
  }

  literals({ args, range }) {
    const at = `${range.source.normalizedPath}:${range.source.lineAt(range.start)}`;
    const literal = (index, what) => {
      if (args[index]?.value === undefined) throw new Error(`${at}: ${what} of plugin(…) has to be a literal text`);
      return args[index].value;
    };
    const elements = args[2]?.elementExpressions;
    if (!elements) throw new Error(`${at}: the inputs of plugin(…) have to be a literal array of texts`);
    const inputs = elements.map((element) => element.value);
    inputs.forEach((input, index) => {
      if (input === undefined) throw new Error(`${at}: input ${index} of plugin(…) has to be a literal text`);
      checkInput(input, at);
      if (inputs.indexOf(input) !== index) throw new Error(`${at}: input "${input}" is listed twice`);
    });
    // Concurrency.Serial, Concurrency.Parallel.
    const serial = args[4]?.property?.text === "Serial";
    const version = args[5] === undefined ? "" : literal(5, "the version");
    return { name: literal(0, "the name"), description: literal(1, "the description"), version, inputs, serial };
  }
}
