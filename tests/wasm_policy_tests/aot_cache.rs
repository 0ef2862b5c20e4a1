//! Compiled modules on disk: used if beyond doubt, ignored otherwise.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sgl_testkit::fleets::fleet;
use sgl_testkit::plugins::load;
use sgl_testkit::small_guests::guest_choosing;
use sglang_router_rs::engine::EngineOptions;
use sglang_router_rs::policies::{PluginError, PolicyFactory, SelectWorkerInfo};

fn factory(directory: &Path) -> PolicyFactory {
    let aot_cache = Some(directory.to_owned());
    PolicyFactory::with_engine(EngineOptions { aot_cache, max_instances: 16, ..EngineOptions::default() })
}

/// Loads the guest that chooses `index` on a new engine, and checks that it does.
async fn load_and_decide(directory: &Path, index: u8) {
    let factory = factory(directory);
    load(&factory, "test", guest_choosing(index)).await.unwrap();
    let policy = factory.create_by_name("test").unwrap();
    let decision = policy.decide_async(&fleet(4).table(), &SelectWorkerInfo::default()).await.unwrap();
    assert_eq!(decision.index(), usize::from(index));
    assert!(matches!(decision.chooser(), sglang_router_rs::policies::Chooser::Plugin { .. }));
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The inode: a file that was written again has another one, since writing is a rename.
fn identity(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().ino()
}

#[tokio::test]
async fn module_is_kept_privately_and_used_by_the_next_engine() {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join("deep/cache");
    load_and_decide(&cache, 1).await;
    let [file] = &files(&cache)[..] else { panic!("{:?}", files(&cache)) };
    assert_eq!((mode(&cache), mode(file) & 0o077), (0o700, 0));
    let first = identity(file);
    load_and_decide(&cache, 1).await;
    assert_eq!(identity(file), first, "it was not compiled and written again");
    load_and_decide(&cache, 2).await;
    assert_eq!(files(&cache).len(), 2, "another module has a file of its own");
}

#[tokio::test]
async fn file_of_another_module_under_this_ones_name_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    load_and_decide(home.path(), 1).await;
    let one = files(home.path())[0].clone();
    let own = fs::read(&one).unwrap();
    load_and_decide(home.path(), 2).await;
    let two = files(home.path()).into_iter().find(|path| *path != one).unwrap();
    fs::copy(&two, &one).unwrap();
    load_and_decide(home.path(), 1).await;
    assert_eq!(fs::read(&one).unwrap(), own, "it was compiled and written again");
}

#[tokio::test]
async fn file_that_is_used_becomes_the_newest() {
    let home = tempfile::tempdir().unwrap();
    load_and_decide(home.path(), 1).await;
    let file = files(home.path())[0].clone();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
    let first = identity(&file);
    load_and_decide(home.path(), 1).await;
    assert_eq!(identity(&file), first, "it was used");
    assert!(fs::metadata(&file).unwrap().modified().unwrap() > long_ago);
}

#[tokio::test]
async fn directory_that_was_opened_to_others_meanwhile_is_neither_read_nor_written() {
    let home = tempfile::tempdir().unwrap();
    let cache = home.path().join("cache");
    let factory = factory(&cache);
    load(&factory, "test", guest_choosing(1)).await.unwrap();
    let file = files(&cache)[0].clone();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
    load(&factory, "test", guest_choosing(1)).await.unwrap();
    load(&factory, "other", guest_choosing(2)).await.unwrap();
    assert_eq!(files(&cache), std::slice::from_ref(&file));
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), long_ago, "it was not used");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn damaged_file_is_ignored_and_replaced() {
    let home = tempfile::tempdir().unwrap();
    load_and_decide(home.path(), 1).await;
    let file = files(home.path())[0].clone();
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [flipped, whole[..100].to_vec(), Vec::new(), b"not compiled at all".to_vec()] {
        fs::write(&file, &damaged).unwrap();
        load_and_decide(home.path(), 1).await;
        assert_eq!(fs::read(&file).unwrap(), whole, "it was written again");
    }
}

#[tokio::test]
async fn file_that_others_can_write_is_not_trusted() {
    let home = tempfile::tempdir().unwrap();
    load_and_decide(home.path(), 1).await;
    let file = files(home.path())[0].clone();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    load_and_decide(home.path(), 1).await;
    assert_eq!(mode(&file) & 0o077, 0, "it was compiled and written again");
    let elsewhere = home.path().join("moved");
    fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    load_and_decide(home.path(), 1).await;
    assert!(fs::symlink_metadata(&file).unwrap().is_file(), "a link is not followed, but replaced");
}

/// The error with all its causes.
fn told(error: &PluginError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test]
async fn directory_that_others_can_write_is_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = load(&factory(home.path()), "test", guest_choosing(1)).await.unwrap_err();
    let told = told(&error);
    assert!(told.contains(home.path().to_str().unwrap()), "{told}");
    assert!(told.contains("writable by nobody else") && told.contains("mode 777"), "{told}");
    assert!(files(home.path()).is_empty());
}

#[tokio::test]
async fn link_to_a_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let link = home.path().join("link");
    fs::create_dir(home.path().join("real")).unwrap();
    fs::set_permissions(home.path().join("real"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(home.path().join("real"), &link).unwrap();
    let error = load(&factory(&link), "test", guest_choosing(1)).await.unwrap_err();
    assert!(told(&error).contains("is a symbolic link"), "{}", told(&error));
}
