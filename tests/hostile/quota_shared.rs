//! One quota for all that a plugin's instances do at once, and for nobody else.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sgl_testkit::plugins::asking;
use sgl_testkit::text::answer;
use sgl_testkit::waits::eventually;
use sglang_router_rs::policies::{PluginOptions, WasmPolicyConfig};

use crate::files::{CREATE, Texts, directory_with, must};
use crate::quota::{MAX_BYTES, close, config, load, opened, quota, wasm, write};
use crate::stage::{BAD, Stage};

/// Bytes and entries of a directory, whatever lies in it counted once.
fn used(directory: &Path) -> (u64, u64) {
    let (mut bytes, mut files) = (0, 0);
    let mut seen = HashSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let facts = entry.metadata().unwrap();
        files += 1;
        if facts.is_dir() {
            let (inner_bytes, inner_files) = used(&entry.path());
            (bytes, files) = (bytes + inner_bytes, files + inner_files);
        } else if seen.insert(facts.ino()) {
            bytes += facts.len();
        }
    }
    (bytes, files)
}

/// A guest that opens a file named by how many came before it, and writes to it 200 times.
fn greedy(texts: &Texts) -> String {
    let last = 3000 + texts.0[0].len() - 1;
    let name = format!(
        "(i32.store8 (i32.const {last}) (i32.add (i32.const 48)
           (i32.wrap_i64 (i64.rem_u (call $count (i32.const 0) (i64.const 1)) (i64.const 6)))))"
    );
    format!(
        "{name} {} (local.set $j (i32.const 200))
         (loop $again (drop {}) (local.set $j (i32.sub (local.get $j) (i32.const 1)))
           (br_if $again (local.get $j)))
         {} (return {})",
        opened(&texts.at(0), CREATE, "$i"),
        write("$i", 1000),
        close("$i"),
        answer(17, 1)
    )
}

#[tokio::test]
async fn instances_at_once_share_one_quota() {
    let texts = Texts::new(&["together-8a1-0"]);
    let stage = Stage::new().await;
    let four = PluginOptions { min_warm: 4, max_instances: 4, max_wait_ms: 30_000, ..quota() };
    let hostile = load(&stage, four, &texts, &greedy(&texts)).await;
    let (table, policy) = (&stage.table, &hostile.policy);
    let info = asking(BAD);
    let all = async {
        let ask = || policy.decide_async(table, &info);
        tokio::join!(ask(), ask(), ask(), ask(), ask(), ask(), ask(), ask())
    };
    let decided = Box::pin(stage.beside(all)).await;
    assert_eq!(decided.0.unwrap().index(), 1);
    let (bytes, files) = used(&directory_with("together-8a1-1"));
    assert!((60_000..=MAX_BYTES).contains(&bytes), "{bytes}");
    assert!((2..=6).contains(&files), "{files}");
    assert!(hostile.stats().tmp_refusals > 1000, "{}", hostile.stats().tmp_refusals);
    stage.ends(hostile).await;
}

#[tokio::test]
async fn calls_whose_caller_goes_away_neither_pass_the_quota_nor_stay_in_it() {
    let texts = Texts::new(&["leaving-51c-0"]);
    let stage = Stage::new().await;
    let hostile = load(&stage, quota(), &texts, &greedy(&texts)).await;
    for patience in 0..60 {
        hostile.ready().await;
        let info = asking(BAD);
        let asked = hostile.policy.decide_async(&stage.table, &info);
        let impatient = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = asked => {}
            () = impatient => {}
        }
    }
    hostile.ready().await;
    stage.by_plugin(&hostile, BAD, 1).await;
    let directory = directory_with("leaving-51c-1");
    let (bytes, _) = used(&directory);
    assert!((60_000..=MAX_BYTES).contains(&bytes), "{bytes}");
    // All that is deleted can be taken again.
    for entry in std::fs::read_dir(&directory).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    eventually("nothing is under way any more", || hostile.stats().pool.idle > 0).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    let (bytes, _) = used(&directory);
    assert!((60_000..=MAX_BYTES).contains(&bytes), "{bytes}");
    stage.ends(hostile).await;
}

#[tokio::test]
async fn neighbour_with_files_has_its_own_quota_and_the_next_generation_its_own_limit() {
    let texts = Texts::new(&["beside-e07-0"]);
    let stage = Stage::new().await;
    let hostile = load(&stage, quota(), &texts, &greedy(&texts)).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    let refused = hostile.stats().tmp_refusals;
    assert!(refused > 100, "{refused}");

    let own = Texts::new(&["own"]);
    let fills = [opened(&own.at(0), CREATE, "$i"), must(&write("$i", MAX_BYTES)), close("$i")].concat();
    let other = WasmPolicyConfig { name: "other".into(), ..config() };
    let fills = wasm(&own, &format!("{fills} (return {})", answer(18, 1)));
    let other = stage.load_with(other, quota(), fills).await;
    stage.by_plugin(&other, BAD, 2).await;
    assert_eq!(other.stats().tmp_refusals, 0);
    assert!(stage.factory.unload_wasm_plugin("other"));

    // Twice as much, and what is there stays.
    let before = used(&directory_with("beside-e07-1")).0;
    let more = PluginOptions { max_tmp_bytes: 2 * MAX_BYTES, ..quota() };
    let next = load(&stage, more, &texts, &greedy(&texts)).await;
    stage.by_plugin(&next, BAD, 1).await;
    let (bytes, _) = used(&directory_with("beside-e07-1"));
    assert!(before <= bytes && (MAX_BYTES + 1..=2 * MAX_BYTES).contains(&bytes), "{before} {bytes}");
    drop(hostile);
    stage.ends(next).await;
}
