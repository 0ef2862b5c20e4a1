//! What a cache of registries' modules forgets: what nobody has used for long, and what is beyond its size.
//!
//! A router marks what it names as used, by the time of the manifest's file, whenever it prunes. What was used
//! lately stays whoever used it, so routers that share a directory do not take each other's modules.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sgl_oci::{ImageManifest, ModuleReference, Sha256Digest};

use crate::config::registry_section::CacheBounds;
use crate::manage::durable_file::TEMPORARY;
use crate::manage::kept_plugin::BadFile;
use crate::manage::module_cache::ModuleCache;
use sglang_router_rs::types::file;

/// What was used within this time stays, whatever the size: routers mark what they use once a day.
const LATELY: Duration = Duration::from_secs(2 * 86_400);

/// Largest manifest, in bytes.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PrunedModules {
    /// Manifests.
    pub(crate) modules: usize,
    /// Bytes of all files.
    pub(crate) bytes: u64,
}

/// A file of the cache.
#[derive(Clone, Copy, Debug)]
struct CachedFile {
    bytes: u64,
    used: SystemTime,
}

/// A manifest of the cache, and the module that it names.
#[derive(Clone, Copy, Debug)]
struct CachedManifest {
    digest: Sha256Digest,
    used: SystemTime,
    layer: Option<Sha256Digest>,
}

/// A cache that is being pruned.
#[derive(Debug)]
struct CachePruning<'a> {
    cache: &'a ModuleCache,
    now: SystemTime,
    files: BTreeMap<Sha256Digest, CachedFile>,
    /// Bytes of all files.
    total: u64,
    pruned: PrunedModules,
}

/// Marks what is `named` as used, and removes what the bounds do not allow: of manifests that nobody names and
/// nobody used lately, those that were not used for too long, and then those that were used longest ago until the
/// rest is small enough. It blocks.
///
/// # Errors
///
/// [`BadFile`] if something cannot be looked at or removed; the rest stays.
pub(crate) fn prune(
    cache: &ModuleCache,
    bounds: CacheBounds,
    named: &BTreeSet<Sha256Digest>,
    now: SystemTime,
) -> Result<PrunedModules, BadFile> {
    for digest in named {
        mark(&cache.blob_file(*digest), now);
    }
    let files = files_of(&cache.blobs())?;
    let signatures = files_of(&cache.signatures())?;
    let total = files.values().chain(signatures.values()).map(|file| file.bytes).sum();
    let mut pruning = CachePruning { cache, now, files, total, pruned: PrunedModules::default() };
    let mut manifests = pruning.manifests();
    manifests.sort_by_key(|manifest| manifest.used);
    let mut gone = BTreeSet::new();
    for manifest in &manifests {
        let unused = pruning.since(manifest.used);
        let is_excess = unused > bounds.unused || pruning.total > bounds.bytes;
        if is_excess && unused > LATELY && !named.contains(&manifest.digest) {
            gone.insert(manifest.digest);
            let kept =
                |other: &CachedManifest| !gone.contains(&other.digest) && other.layer == manifest.layer;
            let layer = manifest.layer.filter(|_| !manifests.iter().any(kept));
            pruning.remove_module(manifest.digest, layer)?;
        }
    }
    pruning.remove_remains(&manifests)?;
    if !gone.is_empty() {
        remove_pins(&cache.tags(), &gone)?;
    }
    Ok(pruning.pruned)
}

impl CachePruning<'_> {
    fn since(&self, used: SystemTime) -> Duration {
        // What is in the future was used now.
        self.now.duration_since(used).unwrap_or_default()
    }

    fn manifests(&self) -> Vec<CachedManifest> {
        let small = self.files.iter().filter(|(_, file)| file.bytes <= MAX_MANIFEST_BYTES);
        small.filter_map(|(digest, file)| self.manifest(*digest, *file)).collect()
    }

    fn manifest(&self, digest: Sha256Digest, found: CachedFile) -> Option<CachedManifest> {
        let bytes = file::read_if_there(&self.cache.blob_file(digest), MAX_MANIFEST_BYTES).ok()??;
        // Modules are told apart before they are parsed.
        let manifest = bytes.starts_with(b"{").then(|| ImageManifest::read(&bytes, None, "it").ok())??;
        let layer = manifest.module_layer("it").ok().map(|layer| layer.digest);
        Some(CachedManifest { digest, used: found.used, layer })
    }

    /// Removes a manifest, first, so that nobody looks for the rest, and its module if nobody else has it.
    fn remove_module(&mut self, manifest: Sha256Digest, layer: Option<Sha256Digest>) -> Result<(), BadFile> {
        self.remove(&self.cache.blob_file(manifest))?;
        self.remove(&self.cache.signature_file(manifest))?;
        if let Some(layer) = layer {
            self.remove(&self.cache.blob_file(layer))?;
        }
        self.pruned.modules += 1;
        Ok(())
    }

    /// Removes what no manifest names and what was half written, unless somebody may be about to use it.
    fn remove_remains(&mut self, manifests: &[CachedManifest]) -> Result<(), BadFile> {
        let named: BTreeSet<Sha256Digest> =
            manifests.iter().flat_map(|one| [Some(one.digest), one.layer]).flatten().collect();
        let orphans = self
            .files
            .iter()
            .filter(|(digest, file)| !named.contains(digest) && self.since(file.used) > LATELY);
        let orphans: Vec<PathBuf> = orphans.map(|(digest, _)| self.cache.blob_file(*digest)).collect();
        for path in orphans {
            self.remove(&path)?;
        }
        for folder in [self.cache.blobs(), self.cache.signatures(), self.cache.tags()] {
            for (name, file) in listed(&folder)? {
                if name.to_string_lossy().starts_with(TEMPORARY) && self.since(file.used) > LATELY {
                    self.remove(&folder.join(name))?;
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> Result<(), BadFile> {
        let bytes = match fs::metadata(path) {
            Ok(facts) => facts.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(BadFile::new(path, error)),
        };
        remove_if_there(path)?;
        self.total = self.total.saturating_sub(bytes);
        self.pruned.bytes += bytes;
        Ok(())
    }
}

/// Has it count as used now. Who may not write there uses what others mark.
fn mark(path: &Path, now: SystemTime) {
    if let Ok(file) = File::options().write(true).open(path) {
        let _ = file.set_modified(now);
    }
}

/// Removes what tags were found to stand for where that is gone.
fn remove_pins(folder: &Path, gone: &BTreeSet<Sha256Digest>) -> Result<(), BadFile> {
    for (name, _) in listed(folder)? {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let digest = ModuleReference::parse(text.trim()).ok().and_then(|reference| reference.digest());
        if digest.is_some_and(|digest| gone.contains(&digest)) {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<(), BadFile> {
    match fs::remove_file(path) {
        // Another router prunes, too.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BadFile::new(path, error)),
        _ => Ok(()),
    }
}

/// The files of a folder that are named by digests.
fn files_of(folder: &Path) -> Result<BTreeMap<Sha256Digest, CachedFile>, BadFile> {
    let digest = |name: &OsStr| Sha256Digest::parse(&format!("sha256:{}", name.to_string_lossy()));
    let files = listed(folder)?.into_iter();
    Ok(files.filter_map(|(name, file)| Some((digest(&name)?, file))).collect())
}

/// The files of a folder; none of one that there is not.
fn listed(folder: &Path) -> Result<Vec<(std::ffi::OsString, CachedFile)>, BadFile> {
    let bad = |error: io::Error| BadFile::new(folder, error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(bad)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(bad)?;
        // One that another router has removed meanwhile is none.
        let Ok(facts) = entry.metadata() else { continue };
        if facts.is_file() {
            let used = facts.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            files.push((entry.file_name(), CachedFile { bytes: facts.len(), used }));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sgl_oci::PulledModule;

    const DAY: Duration = Duration::from_secs(86_400);

    struct Kept {
        dir: tempfile::TempDir,
        cache: ModuleCache,
        now: SystemTime,
    }

    impl Kept {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let cache = ModuleCache::new(dir.path());
            Self { dir, cache, now: SystemTime::now() }
        }

        /// Adds a module of a thousand bytes under a tag, used so many days ago.
        fn add(&self, tag: &str, fill: u8, days: u32) -> Sha256Digest {
            let wasm = [b"\0asm".as_slice(), &[fill; 996]].concat();
            let layer = Sha256Digest::of(&wasm);
            let manifest = format!(
                r#"{{"schemaVersion": 2, "config": {{"mediaType": "application/vnd.wasm.config.v0+json", "digest": "{layer}",
                    "size": 2}}, "layers": [{{"mediaType": "application/wasm", "digest": "{layer}", "size": 1000}}],
                    "annotations": {{"tag": "{tag}"}}}}"#
            );
            let digest = Sha256Digest::of(manifest.as_bytes());
            let tagged = ModuleReference::parse(&format!("oci://registry.example/p:{tag}")).unwrap();
            let pulled = PulledModule {
                reference: tagged.with_digest(digest),
                manifest: manifest.into_bytes().into(),
                wasm: wasm.into(),
                signatures: Vec::new(),
            };
            self.cache.add(&pulled, Some(b"signature")).unwrap();
            self.cache.set_pin(&tagged, digest).unwrap();
            for path in [self.cache.blob_file(digest), self.cache.blob_file(layer)] {
                mark(&path, self.now - DAY * days);
            }
            digest
        }

        fn prune(&self, bytes: u64, unused_days: u32, named: &[Sha256Digest]) -> PrunedModules {
            let bounds = CacheBounds { bytes, unused: DAY * unused_days };
            prune(&self.cache, bounds, &named.iter().copied().collect(), self.now).unwrap()
        }

        fn has(&self, digest: Sha256Digest) -> bool {
            self.cache.module(digest).unwrap().is_some()
        }

        fn files(&self, folder: &str) -> usize {
            fs::read_dir(self.dir.path().join(folder)).unwrap().count()
        }
    }

    #[test]
    fn what_nobody_used_for_long_goes_with_its_tag_and_its_signature() {
        let kept = Kept::new();
        let [old, named, young] =
            [kept.add("old", 1, 91), kept.add("named", 2, 400), kept.add("young", 3, 89)];
        let pruned = kept.prune(1 << 30, 90, &[named]);
        assert_eq!(pruned.modules, 1);
        assert!(pruned.bytes > 1000, "{pruned:?}");
        assert_eq!([old, named, young].map(|digest| kept.has(digest)), [false, true, true]);
        assert_eq!(["blobs", "signatures", "tags"].map(|folder| kept.files(folder)), [4, 2, 2]);
        // What is named counts as used: the next one that prunes sees that.
        assert_eq!(kept.prune(1 << 30, 90, &[]).modules, 0);
        assert_eq!(kept.prune(1 << 30, 88, &[]).modules, 1);
        assert!(kept.has(named) && !kept.has(young));
    }

    #[test]
    fn cache_that_is_too_large_loses_what_was_used_longest_ago_and_nothing_that_was_used_lately() {
        let kept = Kept::new();
        let all = [("a", 1, 9), ("b", 2, 8), ("c", 3, 7), ("d", 4, 1)]
            .map(|(tag, fill, days)| kept.add(tag, fill, days));
        let each: u64 =
            files_of(&kept.cache.blobs()).unwrap().values().map(|file| file.bytes).sum::<u64>() / 4 + 9;
        assert_eq!(kept.prune(each * 4, 90, &[]), PrunedModules::default());
        // The oldest is named: the next one goes in its place.
        assert_eq!(kept.prune(each * 3, 90, &all[..1]).modules, 1);
        assert_eq!(all.map(|digest| kept.has(digest)), [true, false, true, true]);
        assert_eq!(kept.prune(0, 90, &[]).modules, 1);
        assert_eq!(
            all.map(|digest| kept.has(digest)),
            [true, false, false, true],
            "used today and yesterday"
        );
    }

    #[test]
    fn module_of_two_manifests_stays_with_the_one_that_stays_and_remains_go() {
        let kept = Kept::new();
        let [old, young] = [kept.add("1", 7, 100), kept.add("2", 7, 3)];
        let write = |name: &str, days| {
            let path = kept.dir.path().join("blobs").join(name);
            fs::write(&path, b"half").unwrap();
            mark(&path, kept.now - DAY * days);
        };
        let orphan = Sha256Digest::of(b"orphan").hex();
        write(&orphan, 3);
        write(".tmpabc", 3);
        write(&Sha256Digest::of(b"just written").hex(), 1);
        write(".tmpdef", 1);
        write("README", 400);
        assert_eq!(kept.prune(1 << 30, 90, &[]).modules, 1);
        assert!(!kept.has(old) && kept.has(young));
        let left =
            fs::read_dir(kept.dir.path().join("blobs")).unwrap().map(|entry| entry.unwrap().file_name());
        let left: BTreeSet<String> = left.map(|name| name.to_string_lossy().into_owned()).collect();
        assert_eq!(left.len(), 5, "{left:?}");
        assert!(!left.contains(&orphan) && !left.contains(".tmpabc") && left.contains("README"), "{left:?}");
        let nothing = ModuleCache::new(Path::new("/nonexistent/cache"));
        let bounds = CacheBounds { bytes: 0, unused: DAY };
        assert_eq!(prune(&nothing, bounds, &BTreeSet::new(), kept.now).unwrap(), PrunedModules::default());
    }
}
