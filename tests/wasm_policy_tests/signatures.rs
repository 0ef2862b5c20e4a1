//! Who signed a module: rules, and every way around them that is known.

use std::fs;
use std::path::Path;

use sgl_testkit::plugins::{config, load};
use sgl_testkit::small_guests::guest_choosing;
use sglang_router_rs::config::{Require, TrustRule};
use sglang_router_rs::policies::trust::{SecretKey, TrustFault, signing};
use sglang_router_rs::policies::{
    Load, ModuleBytes, Origin, PluginError, PluginOptions, PolicyFactory, SignatureState, TrustPolicy,
    WasmPolicyConfig, unwatched,
};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32], &format!("key {seed}"))
}

/// The public keys as PEM texts.
fn public(keys: &[&SecretKey]) -> Vec<String> {
    keys.iter().map(|key| key.public().to_pem().unwrap()).collect()
}

fn rule(require: Require, keys: &[&SecretKey]) -> TrustRule {
    TrustRule { require, keys: public(keys), ..TrustRule::default() }
}

/// A rule for everything: any of the keys.
fn trusting(keys: &[&SecretKey]) -> TrustPolicy {
    TrustPolicy::new(vec![rule(Require::AnyOfKeys, keys)])
}

fn sent(wasm: Vec<u8>) -> ModuleBytes {
    wasm.into()
}

fn detached(wasm: &[u8], key: &SecretKey) -> ModuleBytes {
    let signature = Some(signing::detach(wasm, None, key).unwrap());
    ModuleBytes { wasm: wasm.to_vec(), signature, origin: Origin::Push }
}

#[track_caller]
fn refused(trust: &TrustPolicy, module: &ModuleBytes) -> TrustFault {
    trust.check(module).expect_err("it must be refused").fault
}

/// The header, then a custom section of this name and content, then the rest of the module.
fn with_section(wasm: &[u8], at_start: bool, name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = vec![u8::try_from(name.len()).unwrap()];
    body.extend(name.as_bytes());
    body.extend(content);
    let mut section = vec![0];
    let mut size = body.len();
    while size > 0x7f {
        section.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    section.push(u8::try_from(size).unwrap());
    section.extend(body);
    let (header, rest) = wasm.split_at(8);
    if at_start { [header, &section, rest].concat() } else { [wasm, &section].concat() }
}

#[test]
fn module_of_wasmsign2_is_verified_and_its_bytes_are_the_ones_that_are_written_here() {
    const SECRET: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIDUT5LInFSk5eThZ5rRdEXjiGVdfuBAYdBiZ+8qxmxQy\n\
                          -----END PRIVATE KEY-----\n";
    // `wasmsign2` 0.2.8 signed a module of one custom section with this key.
    const SIGNED: &str = "0061736d01000000008101097369676e617475726501010101720152d4da95257c462bddc3ca81b91fadda8281f202e7ba2b\
     bb4fc96bbcdb1f76c4014f0c9dd6c72c7a7e665b0d55550d01408f587781a6d38b879603e30fe78a417fa12e833b786fb712\
     97817f1fea063659ae7a047bc583e31723a44c3ea740f3fecd099c36a5620643592ccc76e3eea70d0006046e6f746558";
    let signed = hex(SIGNED);
    let plain = b"\0asm\x01\0\0\0\0\x06\x04noteX".to_vec();
    let secret = SecretKey::from_pem(SECRET).unwrap();
    let trust = trusting(&[&secret]);
    assert_eq!(trust.check(&sent(signed.clone())).unwrap().signers, [secret.public()]);
    assert_eq!(signing::embed(&plain, &secret).unwrap(), signed);
    // Its detached form is the content of the section: two numbers and the name come before it.
    let detached = signed[8 + 3 + 10..signed.len() - 8].to_vec();
    assert_eq!(signing::detach(&plain, None, &secret).unwrap(), detached);
    let module = ModuleBytes { wasm: plain, signature: Some(detached), origin: Origin::Push };
    assert_eq!(trust.check(&module).unwrap().signers.len(), 1);
}

fn hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn every_flipped_bit_of_a_signed_module_is_seen() {
    let key = key(1);
    let trust = trusting(&[&key]);
    let signed = signing::embed(&guest_choosing(0), &key).unwrap();
    assert!(trust.check(&sent(signed.clone())).is_ok());
    for at in 0..signed.len() {
        for bit in [1, 0x80] {
            let mut flipped = signed.clone();
            flipped[at] ^= bit;
            // The key's name in a signature is a hint and no more: it may say anything.
            let is_hint = differ_in_the_name_only(&signed, &flipped, &key);
            assert_eq!(trust.check(&sent(flipped)).is_ok(), is_hint, "byte {at}, bit {bit:#x}");
        }
    }
}

/// True if only the key's name differs.
fn differ_in_the_name_only(a: &[u8], b: &[u8], key: &SecretKey) -> bool {
    let id = hex(&key.public().id());
    let start = a.windows(id.len()).position(|window| window == id).unwrap();
    let outside = |bytes: &[u8]| [&bytes[..start], &bytes[start + id.len()..]].concat();
    outside(a) == outside(b)
}

#[test]
fn every_flipped_bit_of_a_module_beside_its_signature_is_seen() {
    let key = key(1);
    let trust = trusting(&[&key]);
    let module = detached(&guest_choosing(0), &key);
    assert!(trust.check(&module).is_ok());
    for at in 0..module.wasm.len() {
        let mut flipped = module.clone();
        flipped.wasm[at] ^= 1;
        assert!(trust.check(&flipped).is_err(), "byte {at}");
    }
}

#[test]
fn refusal_says_which_rule_failed_and_what_to_do() {
    let (one, two, other) = (key(1), key(2), key(3));
    let trust = trusting(&[&one, &two]);
    let unsigned = trust.check(&sent(guest_choosing(0))).unwrap_err().to_string();
    for part in [
        "trust[0] (require = \"any-of keys\", for everything else)",
        "it is not signed",
        &one.public().id(),
        "(key 2)",
        "sgl-router plugin sign",
    ] {
        assert!(unsigned.contains(part), "{part:?} is not in {unsigned}");
    }
    let stranger = sent(signing::embed(&guest_choosing(0), &other).unwrap());
    let fault = refused(&trust, &stranger);
    assert_eq!(fault.code(), "untrusted_key");
    assert!(fault.to_string().contains(&format!("signed by key {}", other.public().id())), "{fault}");
}

#[test]
fn signature_of_another_module_is_told_from_one_of_another_key() {
    let key = key(1);
    let trust = trusting(&[&key]);
    let mut module = detached(&guest_choosing(0), &key);
    module.wasm = guest_choosing(1);
    let fault = refused(&trust, &module);
    assert!(matches!(fault, TrustFault::Changed { .. }), "{fault}");
    assert!(fault.to_string().contains("signed other bytes"), "{fault}");
    // A signature under a trusted key's name that is not its own.
    let mut forged = detached(&guest_choosing(0), &key);
    *forged.signature.as_mut().unwrap().last_mut().unwrap() ^= 1;
    assert_eq!(refused(&trust, &forged), TrustFault::Invalid { key: key.public().to_string() });
}

#[test]
fn sections_that_are_cut_doubled_or_misplaced_are_refused() {
    let key = key(1);
    let trust = trusting(&[&key]);
    let plain = guest_choosing(0);
    let signed = signing::embed(&plain, &key).unwrap();
    let content = signing::detach(&plain, None, &key).unwrap();
    // Positive: this is how a section is put where it belongs.
    assert_eq!(with_section(&plain, true, "signature", &content), signed);
    let twice = with_section(&signed, true, "signature", &content);
    let behind = with_section(&plain, false, "signature", &content);
    let both_ends = with_section(&signed, false, "signature", b"");
    let second = with_section(&with_section(&plain, true, "signature", &content), true, "x", b"");
    let trailing = with_section(&plain, true, "signature", &[content.as_slice(), &[0]].concat());
    for (wasm, what) in [
        (twice, "twice"),
        (behind, "at the end"),
        (both_ends, "at both ends"),
        (second, "second"),
        (trailing, "with more behind it"),
    ] {
        let fault = refused(&trust, &sent(wasm));
        assert!(matches!(fault, TrustFault::Malformed { .. }), "{what}: {fault}");
    }
    for end in 0..content.len() {
        let cut = with_section(&plain, true, "signature", &content[..end]);
        assert_eq!(refused(&trust, &sent(cut)).code(), "malformed_signature", "cut at {end}");
    }
    for end in 8..signed.len() {
        assert!(trust.check(&sent(signed[..end].to_vec())).is_err(), "module cut at {end}");
    }
    // A section that is appended after signing, which an engine would read.
    let appended = with_section(&signed, false, "sgl.policy", b"x");
    assert_eq!(refused(&trust, &sent(appended)).code(), "signature_mismatch");
}

#[test]
fn second_signature_joins_the_first_and_all_of_them_can_be_asked_for() {
    let (one, two) = (key(1), key(2));
    let both = TrustPolicy::new(vec![rule(Require::AllOfKeys, &[&one, &two])]);
    let once = signing::embed(&guest_choosing(0), &one).unwrap();
    let fault = refused(&both, &sent(once.clone()));
    assert!(matches!(&fault, TrustFault::Incomplete { missing, .. } if missing.contains("key 2")), "{fault}");
    let twice = signing::embed(&once, &two).unwrap();
    assert_eq!(both.check(&sent(twice.clone())).unwrap().signers.len(), 2);
    assert!(trusting(&[&one]).check(&sent(twice.clone())).is_ok());
    // Signing again replaces the key's own signature.
    assert_eq!(signing::embed(&twice, &two).unwrap().len(), twice.len());
}

/// Two directories below one, and the module in each of them.
fn two_directories() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let [strict, open] = ["strict", "open"].map(|name| {
        let dir = root.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("p.wasm"), guest_choosing(0)).unwrap();
        dir
    });
    (root, strict, open)
}

async fn load_file(factory: &PolicyFactory, path: &Path) -> Result<(), PluginError> {
    let config = WasmPolicyConfig { module_path: path.to_str().unwrap().to_owned(), ..config("test") };
    factory.load(Load::file(config)).await.map(|_| ())
}

#[tokio::test]
async fn rule_of_a_directory_binds_its_files_and_no_link_leads_around_it() {
    let (root, strict, open) = two_directories();
    let key = key(1);
    let factory = PolicyFactory::new();
    let dir = Some(strict.clone());
    factory.set_trust(TrustPolicy::new(vec![TrustRule { dir, ..rule(Require::AnyOfKeys, &[&key]) }]));
    load_file(&factory, &open.join("p.wasm")).await.expect("no rule is about it");
    std::os::unix::fs::symlink(open.join("p.wasm"), strict.join("out.wasm")).unwrap();
    std::os::unix::fs::symlink(strict.join("p.wasm"), open.join("in.wasm")).unwrap();
    std::os::unix::fs::symlink(&strict, root.path().join("alias")).unwrap();
    for path in [
        strict.join("p.wasm"),
        strict.join("out.wasm"),
        open.join("in.wasm"),
        root.path().join("alias/p.wasm"),
        open.join("../strict/p.wasm"),
    ] {
        let error = load_file(&factory, &path).await.expect_err("it is refused");
        let told = error.to_string();
        assert!(matches!(error, PluginError::Trust(_)) && told.contains("not signed"), "{path:?}: {told}");
        assert!(told.contains(strict.to_str().unwrap()), "the rule is named: {told}");
    }
    let signature = signing::detach(&guest_choosing(0), None, &key).unwrap();
    fs::write(strict.join("p.wasm.sig"), signature).unwrap();
    load_file(&factory, &strict.join("p.wasm")).await.expect("it is signed");
    let info = &factory.plugin_infos()[0];
    assert_eq!(info.provenance.signature, SignatureState::Verified);
    assert_eq!(info.provenance.origin, Origin::file(strict.join("p.wasm")));
    assert_eq!(info.provenance.signed_by[0].comment, "key 1");
}

#[tokio::test]
async fn deeper_rule_counts_and_the_one_without_a_directory_is_for_the_rest() {
    let (root, strict, open) = two_directories();
    let key = key(1);
    let factory = PolicyFactory::new();
    factory.set_trust(TrustPolicy::new(vec![
        TrustRule { dir: Some(root.path().to_owned()), ..rule(Require::AllOfKeys, &[&key]) },
        TrustRule { dir: Some(open.clone()), require: Require::Nothing, ..TrustRule::default() },
        rule(Require::AnyOfKeys, &[&key]),
    ]));
    load_file(&factory, &open.join("p.wasm")).await.expect("its rule asks for nothing");
    let above = load_file(&factory, &strict.join("p.wasm")).await.unwrap_err().to_string();
    assert!(above.contains("trust[0]"), "{above}");
    let pushed = load(&factory, "test", guest_choosing(0)).await;
    assert!(pushed.unwrap_err().to_string().contains("trust[2]"));
    let signed = signing::embed(&guest_choosing(0), &key).unwrap();
    load(&factory, "test", signed).await.expect("it is signed");
}

#[tokio::test]
async fn key_that_is_taken_away_is_not_trusted_by_the_next_load() {
    let keys = tempfile::tempdir().unwrap();
    let (old, new) = (key(1), key(2));
    let file = |name: &str| keys.path().join(name);
    fs::write(file("old.pub"), old.public().to_pem().unwrap()).unwrap();
    let factory = PolicyFactory::new();
    let source = keys.path().to_str().unwrap().to_owned();
    factory.set_trust(TrustPolicy::new(vec![TrustRule { keys: vec![source], ..TrustRule::default() }]));
    let by_old = signing::embed(&guest_choosing(0), &old).unwrap();
    let by_new = signing::embed(&guest_choosing(0), &new).unwrap();
    load(&factory, "test", by_old.clone()).await.expect("the old key is trusted");
    assert!(load(&factory, "test", by_new.clone()).await.is_err());
    // Rotation: the new key comes, modules are signed again, the old key goes. Nothing restarts.
    fs::write(file("new.pub"), new.public().to_pem().unwrap()).unwrap();
    load(&factory, "test", by_old.clone()).await.expect("both are trusted");
    fs::remove_file(file("old.pub")).unwrap();
    let reconfigured =
        factory.reconfigure_wasm_plugin(config("test"), PluginOptions::default(), unwatched()).await;
    assert!(reconfigured.unwrap_err().to_string().contains("not among the keys"));
    load(&factory, "test", by_new).await.expect("the new key is trusted");
    let refused = load(&factory, "test", by_old).await.unwrap_err().to_string();
    assert!(refused.contains(&old.public().id()) && refused.contains("(key 2)"), "{refused}");
    factory
        .reconfigure_wasm_plugin(config("test"), PluginOptions::default(), unwatched())
        .await
        .expect("the new key signed what serves");
}

#[tokio::test]
async fn key_that_cannot_be_used_refuses_every_module_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let key = key(1);
    let file = dir.path().join("k.pub");
    let source = file.to_str().unwrap().to_owned();
    let factory = PolicyFactory::new();
    factory
        .set_trust(TrustPolicy::new(vec![TrustRule { keys: vec![source.clone()], ..TrustRule::default() }]));
    let signed = signing::embed(&guest_choosing(0), &key).unwrap();
    let told = async || load(&factory, "test", signed.clone()).await.unwrap_err().to_string();
    assert!(told().await.contains(&source), "it is not there");
    fs::write(&file, "nonsense").unwrap();
    assert!(told().await.contains("no PEM text"));
    fs::write(&file, key.to_pem().unwrap()).unwrap();
    assert!(told().await.contains("private key"));
    fs::write(&file, key.public().to_pem().unwrap()).unwrap();
    let open = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
    fs::set_permissions(&file, open).unwrap();
    assert!(told().await.contains("everybody can write it"));
    let closed = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
    fs::set_permissions(&file, closed).unwrap();
    load(&factory, "test", signed).await.expect("the key can be used");
    let nobody = TrustPolicy::new(vec![TrustRule::default()]);
    assert_eq!(refused(&nobody, &sent(guest_choosing(0))).code(), "trust_keys_unusable");
}

#[tokio::test]
async fn provenance_tells_of_module_signatures_and_limits_without_any_rule() {
    let factory = PolicyFactory::new();
    let producers = b"\x01\x08language\x01\x04Rust\x041.95";
    let plain = with_section(&guest_choosing(0), false, "producers", producers);
    let signed = signing::embed(&plain, &key(1)).unwrap();
    let size = signed.len();
    let info = load(&factory, "test", signed).await.unwrap();
    let provenance = info.provenance;
    assert_eq!((provenance.signature, provenance.size_bytes), (SignatureState::Unverified, size));
    assert_eq!((&provenance.origin, provenance.form.as_str()), (&Origin::Push, "rows"));
    assert_eq!(provenance.producers["language"], ["Rust 1.95"]);
    assert_eq!(provenance.limits.max_execution_time_ms, 1000);
    assert!(provenance.signed_by.is_empty() && provenance.imports.is_empty());
    let info = load(&factory, "test", plain).await.unwrap();
    assert_eq!(info.provenance.signature, SignatureState::Absent);
}
