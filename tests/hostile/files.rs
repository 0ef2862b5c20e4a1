//! Ways out of the private directory, and ways to fill it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sgl_testkit::guest::GuestText;
use sgl_testkit::text::{answer, escaped};
use sgl_testkit::waits::eventually;
use sglang_router_rs::policies::{FailureCause, PluginOptions, WasmPolicyConfig};

use crate::guest::wasi;
use crate::stage::{BAD, GOOD, Hostile, Stage, allowing, options};

const FUNCTIONS: [(&str, &str); 8] = [
    ("fd_close", "i32"),
    ("fd_read", "i32 i32 i32 i32"),
    ("path_create_directory", "i32 i32 i32"),
    ("path_link", "i32 i32 i32 i32 i32 i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_rename", "i32 i32 i32 i32 i32 i32"),
    ("path_symlink", "i32 i32 i32 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
];

pub(crate) const CREATE: u32 = 1;

/// Texts at 3000, each 200 bytes after the one before; each is `(pointer) (length)` in a call.
pub(crate) struct Texts(pub(crate) Vec<String>);

impl Texts {
    pub(crate) fn new(texts: &[&str]) -> Self {
        Self(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    pub(crate) fn data(&self) -> String {
        let data = |(at, text): (usize, &String)| {
            format!(r#"(data (i32.const {}) "{}")"#, 3000 + 200 * at, escaped(text.as_bytes()))
        };
        self.0.iter().enumerate().map(data).collect()
    }

    pub(crate) fn at(&self, index: usize) -> String {
        format!("(i32.const {}) (i32.const {})", 3000 + 200 * index, self.0[index].len())
    }
}

/// Opens for reading and writing, following links; the descriptor lies at 2048.
pub(crate) fn open(path: &str, flags: u32) -> String {
    format!(
        "(call $path_open (i32.const 3) (i32.const 1) {path} (i32.const {flags}) (i64.const 66) (i64.const 66)
           (i32.const 0) (i32.const 2048))"
    )
}

pub(crate) fn must(call: &str) -> String {
    format!("(if {call} (then unreachable))")
}

pub(crate) fn must_not(call: &str) -> String {
    format!("(if (i32.eqz {call}) (then unreachable))")
}

fn config() -> WasmPolicyConfig {
    WasmPolicyConfig { max_execution_time_ms: 20_000, ..allowing(&FUNCTIONS) }
}

async fn load(stage: &Stage, texts: &Texts, bad: &str) -> Hostile {
    let imports = wasi(&FUNCTIONS);
    let wasm = GuestText { imports: &imports, fields: &texts.data(), bad, ..GuestText::default() }.wasm();
    stage.load_with(config(), options(), wasm).await
}

/// The private directory in which a guest made a file of this name.
pub(crate) fn directory_with(name: &str) -> PathBuf {
    let temp = std::fs::read_dir(std::env::temp_dir()).unwrap();
    let ours = temp
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("sgl-plugin-"));
    let mut found = ours.filter(|path| path.join(name).exists());
    found.next().expect("the file lies in a private directory")
}

/// The case of a guest that traps unless every way out is closed, and answers 1 at the end.
async fn no_way_out(texts: &Texts, bad: &str) {
    let stage = Stage::new().await;
    let hostile = load(&stage, texts, &format!("{bad} (return {})", answer(17, 1))).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn paths_upwards_lead_nowhere() {
    let texts = Texts::new(&["..", "../x", "a/../../x", "./.././x", "../../../../../../etc/passwd", "a"]);
    let mut bad = must(&format!("(call $path_create_directory (i32.const 3) {})", texts.at(5)));
    for index in 0..5 {
        bad.push_str(&must_not(&open(&texts.at(index), 0)));
        bad.push_str(&must_not(&open(&texts.at(index), CREATE)));
    }
    no_way_out(&texts, &bad).await;
}

#[tokio::test]
async fn absolute_paths_lead_nowhere() {
    let texts = Texts::new(&["/", "/etc/passwd", "/tmp", "/tmp/x", "//etc/passwd", "/proc/self/environ"]);
    let bad: String = (0..6).map(|index| must_not(&open(&texts.at(index), 0))).collect();
    no_way_out(&texts, &bad).await;
}

#[tokio::test]
async fn paths_that_are_no_text_lead_nowhere() {
    // Empty, with a zero inside, outside memory, and four gigabytes of it.
    let texts = Texts::new(&["", "a\0b"]);
    let bad = [
        must_not(&open(&texts.at(0), CREATE)),
        must_not(&open(&texts.at(1), CREATE)),
        must_not(&open(&format!("(i32.const 3000) (i32.const {})", 5000), CREATE)),
    ];
    no_way_out(&texts, &bad.concat()).await;
    let stage = Stage::new().await;
    let outside = format!("(drop {})", open("(i32.const 3000) (i32.const -1)", CREATE));
    let hostile = load(&stage, &texts, &outside).await;
    // Outside memory the system call itself is the error, or an error number.
    stage.decide(&hostile, BAD).await;
    hostile.ready().await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn links_out_of_the_directory_lead_nowhere() {
    let texts = Texts::new(&["/etc/passwd", "../../etc/passwd", "link", "up", "up/etc/passwd", "../.."]);
    let link = |target: usize, name: usize| {
        format!("(drop (call $path_symlink {} (i32.const 3) {}))", texts.at(target), texts.at(name))
    };
    let unlink = format!("(drop (call $path_unlink_file (i32.const 3) {}))", texts.at(2));
    let bad = [
        link(0, 2),
        must_not(&open(&texts.at(2), 0)),
        unlink,
        link(1, 2),
        must_not(&open(&texts.at(2), 0)),
        link(5, 3),
        must_not(&open(&texts.at(4), 0)),
        must_not(&open(&texts.at(4), CREATE)),
    ];
    no_way_out(&texts, &bad.concat()).await;
}

#[tokio::test]
async fn hard_links_and_renames_across_the_border_are_refused() {
    let texts = Texts::new(&["own", "../../etc/passwd", "../stolen", "/etc/passwd"]);
    let link = |from: usize, to: usize| {
        format!(
            "(call $path_link (i32.const 3) (i32.const 0) {} (i32.const 3) {})",
            texts.at(from),
            texts.at(to)
        )
    };
    let rename = |from: usize, to: usize| {
        format!("(call $path_rename (i32.const 3) {} (i32.const 3) {})", texts.at(from), texts.at(to))
    };
    let bad = [
        must(&open(&texts.at(0), CREATE)),
        must_not(&link(1, 0)),
        must_not(&link(3, 0)),
        must_not(&link(0, 2)),
        must_not(&rename(0, 2)),
        must_not(&rename(1, 0)),
        must_not(&rename(3, 0)),
    ];
    no_way_out(&texts, &bad.concat()).await;
}

#[tokio::test]
async fn descriptors_that_were_never_given_are_of_no_use() {
    // 0 to 2 are the guest's own streams; the router has many more open.
    let texts = Texts::new(&["x"]);
    let mut bad = String::new();
    for descriptor in [0, 1, 2, 4, 5, 9, 100, 1_000_000, -1] {
        let open = open(&texts.at(0), CREATE);
        bad.push_str(&must_not(
            &open.replace("(i32.const 3) (i32.const 1)", &format!("(i32.const {descriptor}) (i32.const 1)")),
        ));
    }
    for descriptor in [3, 4, 5, 9, 100, 1_000_000, -1] {
        bad.push_str(&format!(
            "(i32.store (i32.const 2060) (i32.const 2100)) (i32.store (i32.const 2064) (i32.const 8)) {}",
            must_not(&format!(
                "(call $fd_read (i32.const {descriptor}) (i32.const 2060) (i32.const 1) (i32.const 2068))"
            ))
        ));
    }
    no_way_out(&texts, &bad).await;
}

#[tokio::test]
async fn link_that_changes_under_the_guest_never_leads_out() {
    // The guest opens `door/secret` again and again; somebody else swaps `door` between a folder
    // inside and a link to one outside, which is what a race with another instance can do.
    let texts = Texts::new(&["marker-6d1e", "door/secret"]);
    let read = "(i32.store (i32.const 2060) (i32.const 2100)) (i32.store (i32.const 2064) (i32.const 8))
      (i64.store (i32.const 2100) (i64.const 0))
      (drop (call $fd_read (i32.load (i32.const 2048)) (i32.const 2060) (i32.const 1) (i32.const 2068)))
      (drop (call $fd_close (i32.load (i32.const 2048))))";
    let bad = format!(
        "(if (i32.eqz {}) (then (drop (call $fd_close (i32.load (i32.const 2048))))))
         (local.set $i (i32.const 500))
         (loop $again
           (if (i32.eqz {}) (then {read}
             (if (i64.eq (i64.load (i32.const 2100)) (i64.const 0x5445524345534f4e)) (then unreachable))
             (local.set $j (i32.const 1))))
           (local.set $i (i32.sub (local.get $i) (i32.const 1)))
           (br_if $again (local.get $i)))
         (i32.store8 (i32.const 40) (local.get $j)) (return {})",
        open(&texts.at(0), CREATE),
        open(&texts.at(1), 0),
        answer(40, 1)
    );
    let stage = Stage::new().await;
    let hostile = load(&stage, &texts, &bad).await;
    stage.by_plugin(&hostile, BAD, 0).await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "NOSECRET").unwrap();
    let directory = directory_with("marker-6d1e");
    std::fs::create_dir(directory.join("inside")).unwrap();
    std::fs::write(directory.join("inside/secret"), "harmless").unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let (stop, outside) = (Arc::clone(&stop), outside.path().to_owned());
        move || {
            let (door, next) = (directory.join("door"), directory.join("next"));
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                turn += 1;
                let target = if turn % 2 == 0 { outside.clone() } else { PathBuf::from("inside") };
                // Each change replaces the link in one step.
                std::os::unix::fs::symlink(target, &next).unwrap();
                std::fs::rename(&next, &door).unwrap();
            }
            turn
        }
    });
    let mut got_in = false;
    for _ in 0..10 {
        let decided = stage.decide(&hostile, BAD).await;
        assert!(
            matches!(decided.chooser(), sglang_router_rs::policies::Chooser::Plugin { .. }),
            "it read what is outside"
        );
        got_in |= decided.index() == 1;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(swapping.join().unwrap() > 1);
    assert!(got_in, "the door was open now and then");
    stage.ends(hostile).await;
}

#[tokio::test]
async fn many_files_go_with_the_plugin() {
    // Two thousand of them, each named by its number.
    let texts = Texts::new(&["f-0000", "marker-20ce"]);
    let digit = |at: u32, divisor: u32| {
        format!(
            "(i32.store8 (i32.const {}) (i32.add (i32.const 48)
               (i32.rem_u (i32.div_u (local.get $i) (i32.const {divisor})) (i32.const 10))))",
            3002 + at
        )
    };
    let close = "(drop (call $fd_close (i32.load (i32.const 2048))))";
    let bad = format!(
        "{} {close} (local.set $i (i32.const 2000))
         (loop $again {} {} {close}
           (local.set $i (i32.sub (local.get $i) (i32.const 1)))
           (br_if $again (local.get $i)))",
        must(&open(&texts.at(1), CREATE)),
        [digit(0, 1000), digit(1, 100), digit(2, 10), digit(3, 1)].concat(),
        must(&open(&texts.at(0), CREATE)),
    );
    let stage = Stage::new().await;
    let imports = wasi(&FUNCTIONS);
    let wasm =
        GuestText { imports: &imports, fields: &texts.data(), bad: &bad, ..GuestText::default() }.wasm();
    let roomy = PluginOptions { max_tmp_files: 2001, ..options() };
    let hostile = stage.load_with(config(), roomy, wasm).await;
    stage.by_plugin(&hostile, BAD, 0).await;
    let directory = directory_with("marker-20ce");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2001);
    stage.ends(hostile).await;
    eventually("the directory is gone", || !directory.exists()).await;
}

#[tokio::test]
async fn files_left_open_without_number_are_a_trap() {
    // Every descriptor of a guest is one of the router's, which needs them for its connections.
    let texts = Texts::new(&["open"]);
    let bad = format!(
        "(local.set $i (i32.const 3000))
         (loop $again {}
           (local.set $i (i32.sub (local.get $i) (i32.const 1)))
           (br_if $again (local.get $i)))",
        must(&open(&texts.at(0), CREATE))
    );
    let stage = Stage::new().await;
    let hostile = load(&stage, &texts, &bad).await;
    stage.falls_back(&hostile, FailureCause::Trap).await;
    stage.ends(hostile).await;
}
