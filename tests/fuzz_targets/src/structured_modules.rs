//! Valid modules with the exports of the plugin ABI, through load, `init` and 100 decisions.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use sgl_policy_abi::{Concurrency, Input, MANIFEST_SECTION, Wire};
use sglang_router_rs::config::{BreakerOptions, Isolation, LaneOption};
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{
    Chooser, PluginOptions, PolicyHandle, RequestCompletion, RequestFirstToken, WasmPolicyConfig,
};
use wasm_encoder::{CustomSection, Section};
use wasm_smith::{Config, Module};

use crate::fleet::Requests;
use crate::host::Host;
use crate::steadied::{Answers, Steadiness, steadied};
use crate::{fleet, guests, host};

/// Decisions of every module that loads.
const DECISIONS: usize = 100;

/// Failures after which one that may loop for ever is asked no more.
const PATIENCE: u32 = 3;

/// Calls and loop turns of a guest that ends by itself, one time and another.
const FUEL: [u32; 2] = [500, 20_000];

static HOST: LazyLock<Host> = LazyLock::new(Host::new);

/// What module is made, and how it is used.
#[derive(Debug, Arbitrary)]
struct Shape {
    /// One in eight may loop for ever.
    may_loop: [bool; 3],
    more_fuel: bool,
    is_steadied: bool,
    init_is_steadied: bool,
    has_traps: bool,
    has_start: bool,
    init_takes_message: bool,
    answer_is_sized: bool,
    has_pair: bool,
    has_on_workers: bool,
    has_on_complete: bool,
    has_state: bool,
    has_system_calls: bool,
    is_rows: bool,
    is_serial: bool,
    has_self_test: bool,
    is_fresh: bool,
    is_adaptive: bool,
    is_replaced: bool,
    memory_is_bounded: bool,
    inputs: [u8; 4],
    /// Last, so that inputs that were kept before it go on meaning the same.
    has_on_first_token: bool,
    has_on_session_end: bool,
}

impl Shape {
    fn may_loop(&self) -> bool {
        self.may_loop == [true; 3]
    }

    fn steadiness(&self) -> Steadiness {
        let answers = if self.init_takes_message { Answers::Yes } else { Answers::No };
        Steadiness { init: self.init_is_steadied.then_some(answers), sized_answer: self.answer_is_sized }
    }

    /// A module that has the exports which the made-up one must have.
    fn exports(&self) -> Vec<u8> {
        let function =
            |export: &str, signature: &str| format!(r#"(func (export "{export}") {signature} unreachable)"#);
        let message = "(param i32 i32)";
        let answer = "(param i32 i32) (result i64)";
        let mut fields = vec![
            format!(r#"(memory (export "memory") 1 {})"#, if self.memory_is_bounded { "16" } else { "" }),
            function("alloc", "(param i32) (result i32)"),
            function("dealloc", message),
            function("init", if self.init_takes_message { answer } else { "" }),
            function(
                "select_worker",
                if self.answer_is_sized { "(param i32 i32) (result i32)" } else { answer },
            ),
        ];
        let mut optional = |is_there: bool, name, signature| {
            if is_there {
                fields.push(function(name, signature));
            }
        };
        optional(self.has_pair, "select_worker_pair", answer);
        optional(self.has_on_workers, "on_workers", message);
        optional(self.has_on_complete, "on_complete", message);
        optional(self.has_on_first_token, "on_first_token", message);
        optional(self.has_on_session_end, "on_session_end", message);
        optional(self.has_state, "save_state", "(result i64)");
        optional(self.has_state, "restore_state", message);
        wat::parse_str(format!("(module {})", fields.concat())).expect("it is valid")
    }

    fn imports(&self) -> Vec<u8> {
        let field = |module: &str, (name, signature): &(&str, &str)| {
            format!(r#"(import "{module}" "{name}" (func {signature}))"#)
        };
        let mut fields: String = HOST_FUNCTIONS.iter().map(|function| field("sgl", function)).collect();
        if self.has_system_calls {
            fields.extend(SYSTEM_CALLS.iter().map(|function| field("wasi_snapshot_preview1", function)));
        }
        wat::parse_str(format!("(module {fields})")).expect("it is valid")
    }

    /// What wasm-smith may make. What the engine refuses anyway is left to the other target.
    fn smith(&self) -> Config {
        Config {
            available_imports: Some(self.imports()),
            exports: Some(self.exports()),
            max_imports: 6,
            max_funcs: 8,
            max_types: 8,
            max_globals: 6,
            max_tables: 1,
            max_table_elements: 1000,
            max_memories: 0,
            max_data_segments: 4,
            max_element_segments: 4,
            max_instructions: 60,
            threads_enabled: false,
            memory64_enabled: false,
            gc_enabled: false,
            // With them come references to what the host has, which the engine is built without.
            reference_types_enabled: false,
            exceptions_enabled: false,
            allow_start_export: self.has_start,
            disallow_traps: !self.has_traps,
            ..Config::default()
        }
    }

    fn manifest(&self) -> Vec<u8> {
        let wire = if self.is_rows { Wire::Rows } else { Wire::Columns };
        let concurrency = if self.is_serial { Concurrency::Serial } else { Concurrency::Parallel };
        let mut inputs: Vec<Input> = Vec::new();
        for input in self.inputs.iter().filter(|_| !self.is_rows).map(|number| input(*number)) {
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        guests::manifest(wire, inputs, concurrency)
    }

    fn config(&self) -> WasmPolicyConfig {
        let allowed = SYSTEM_CALLS.iter().filter(|_| self.has_system_calls);
        let mut config = host::config();
        config.allowed_syscalls = allowed.map(|(name, _)| (*name).to_owned()).collect();
        config.config.insert("key".to_owned(), serde_json::json!({"nested": [1, "two", 3.5, null]}));
        config
    }

    fn options(&self) -> PluginOptions {
        let failures = if self.may_loop() { PATIENCE } else { 0 };
        PluginOptions {
            self_test: self.has_self_test,
            isolation: if self.is_fresh { Isolation::Fresh } else { Isolation::Reuse },
            lane: if self.is_adaptive { LaneOption::Adaptive } else { LaneOption::Fiber },
            breaker: BreakerOptions { failures, ..host::options().breaker },
            ..host::options()
        }
    }
}

const HOST_FUNCTIONS: [(&str, &str); 5] = [
    ("log", "(param i32 i32 i32)"),
    ("counter_add", "(param i32 i64) (result i64)"),
    ("kv_get", "(param i32 i32 i32 i32) (result i32)"),
    ("kv_set", "(param i32 i32 i32 i32) (result i32)"),
    ("kv_set_for", "(param i32 i32 i32 i32 i32) (result i32)"),
];

const SYSTEM_CALLS: [(&str, &str); 8] = [
    ("clock_time_get", "(param i32 i64 i32) (result i32)"),
    ("random_get", "(param i32 i32) (result i32)"),
    ("fd_write", "(param i32 i32 i32 i32) (result i32)"),
    ("fd_read", "(param i32 i32 i32 i32) (result i32)"),
    ("fd_readdir", "(param i32 i32 i32 i64 i32) (result i32)"),
    ("path_open", "(param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)"),
    ("poll_oneoff", "(param i32 i32 i32 i32) (result i32)"),
    ("proc_exit", "(param i32)"),
];

fn input(number: u8) -> Input {
    let inputs: Vec<Input> = Input::named().chain([Input::Header("x-session-id".into())]).collect();
    inputs[usize::from(number) % inputs.len()].clone()
}

/// Valid modules with the exports of the plugin ABI, through load, `init` and 100 decisions.
pub fn structured_modules(bytes: &[u8]) {
    let mut choices = Unstructured::new(bytes);
    let Ok((shape, wasm)) = module(&mut choices) else { return };
    let Ok(policy) = HOST.load(shape.config(), shape.options(), wasm.clone()) else {
        return HOST.nothing_is_left(false);
    };
    let (small, large) = (fleet::table(5), fleet::table(23));
    decide(&policy, &shape, [&small, &large]);
    if shape.is_replaced {
        // Its state goes along, counters, map and guest state.
        let _ = HOST.load(shape.config(), shape.options(), wasm);
        HOST.decide(&policy, &small, &Requests::new().info(1), true);
    }
    fleet::nothing_in_flight(&small);
    fleet::nothing_in_flight(&large);
    HOST.unload(&policy);
    HOST.nothing_is_left(false);
}

fn module(choices: &mut Unstructured<'_>) -> arbitrary::Result<(Shape, Vec<u8>)> {
    let shape = Shape::arbitrary(choices)?;
    let mut module = Module::new(shape.smith(), choices)?;
    if !shape.may_loop() {
        // Fails if it imports functions that need fuel, which these do not.
        module
            .ensure_termination(FUEL[usize::from(shape.more_fuel)])
            .map_err(|_| arbitrary::Error::IncorrectFormat)?;
    }
    let mut wasm = module.to_bytes();
    if shape.is_steadied {
        wasm = steadied(&wasm, shape.steadiness());
    }
    let (name, data) = (Cow::Borrowed(MANIFEST_SECTION), Cow::Owned(shape.manifest()));
    CustomSection { name, data }.append_to(&mut wasm);
    Ok((shape, wasm))
}

fn decide(policy: &PolicyHandle, shape: &Shape, tables: [&WorkerTable; 2]) {
    let requests = Requests::new();
    for number in 0..DECISIONS {
        // The table changes now and then, and comes back.
        let table = tables[usize::from(number % 40 >= 25)];
        let info = requests.info(number);
        if shape.has_pair && number % 10 == 3 {
            if let Ok(pair) = HOST.run(policy.decide_pair_async(table, &info)) {
                fleet::check_decision(table, &info, &pair.prefill);
                fleet::check_decision(table, &info, &pair.decode);
            }
            continue;
        }
        HOST.decide(policy, table, &info, number % 2 == 1);
        if shape.has_on_first_token && number.is_multiple_of(3) {
            policy.on_first_token(&first_token(policy, number));
        }
        if shape.has_on_session_end && number.is_multiple_of(5) {
            policy.on_session_end(&number.to_string());
        }
        if shape.has_on_complete && number.is_multiple_of(4) {
            policy.on_request_complete(&completion(policy, number));
        }
    }
}

fn url_of(number: usize) -> String {
    format!("http://w{}:1", number % 6)
}

fn chooser_of(policy: &PolicyHandle) -> Chooser {
    let PolicyHandle::Wasm(plugin) = policy else { panic!("it is a plugin") };
    Chooser::Plugin { generation: plugin.stats().generation }
}

fn first_token(policy: &PolicyHandle, number: usize) -> RequestFirstToken {
    RequestFirstToken {
        worker_url: url_of(number),
        chooser: chooser_of(policy),
        after: Duration::from_millis(3),
        tag: number.is_multiple_of(2).then_some(u64::MAX),
    }
}

fn completion(policy: &PolicyHandle, number: usize) -> RequestCompletion {
    RequestCompletion {
        success: number.is_multiple_of(8),
        judged: true,
        first_byte: number.is_multiple_of(3).then_some(Duration::from_millis(3)),
        total: Duration::from_millis(9),
        prompt_tokens: u32::try_from(number).ok(),
        ..RequestCompletion::new(url_of(number), chooser_of(policy))
    }
}
