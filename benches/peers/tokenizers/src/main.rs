//! Loads each tokenizer in a folder by each crate, tokenizes the texts of `texts.json` there, compares with the
//! ids that the `tokenizers` package for Python gave, and prints a line for each: time to load, texts that
//! differ, and the median microseconds of a text that is met for the first time, by its kind and size.
//!
//! usage: peer_tokenizers DIR CRATE (fastokens, tokenizers, tokenizers_v1, llm-tokenizer)

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use llm_tokenizer::traits::Encoder;
use tokenizers_v1::pipeline::EncodeOptions;

type Encode = Box<dyn Fn(&str) -> Result<Vec<u32>, String>>;

fn text<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

fn load(by: &str, file: &Path) -> Result<Encode, String> {
    match by {
        "fastokens" => {
            let tokenizer = fastokens::Tokenizer::from_file(file).map_err(text)?;
            Ok(Box::new(move |prompt| tokenizer.encode(prompt).map_err(text)))
        }
        "tokenizers" => {
            let tokenizer = tokenizers::Tokenizer::from_file(file).map_err(text)?;
            Ok(Box::new(move |prompt| {
                tokenizer.encode_fast(prompt, false).map(|encoding| encoding.get_ids().to_vec()).map_err(text)
            }))
        }
        "tokenizers_v1" => {
            let json = std::fs::read_to_string(file).map_err(text)?;
            let json = tokenizers_v1::canonicalize_str(&json).map_err(text)?;
            let tokenizer = tokenizers_v1::from_json(&json).map_err(text)?;
            let options = EncodeOptions { add_special_tokens: false, ..EncodeOptions::default() };
            Ok(Box::new(move |prompt| {
                let mut tokens = Vec::new();
                tokenizer.encode_into(prompt, &options, &mut tokens).map_err(text)?;
                Ok(tokens.into_iter().map(|token| token.id()).collect())
            }))
        }
        "llm-tokenizer" => {
            let file = file.to_str().ok_or("an odd path")?;
            let tokenizer = llm_tokenizer::HuggingFaceTokenizer::from_file(file).map_err(text)?;
            Ok(Box::new(move |prompt| {
                tokenizer.encode(prompt, false).map(|encoding| encoding.token_ids().to_vec()).map_err(text)
            }))
        }
        other => Err(format!("there is no {other}")),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(by)) = (args.next(), args.next()) else { return Err("usage: peer_tokenizers DIR CRATE".into()) };
    let dir = Path::new(&dir);
    let texts: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(dir.join("texts.json"))?)?;
    let mut names: Vec<_> = std::fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".tokenizer.json"));
    names.sort();
    for name in names {
        let begun = Instant::now();
        let encode = match load(&by, &dir.join(&name)) {
            Ok(encode) => encode,
            Err(error) => {
                println!("{by}\t{name}\tcannot be loaded: {error}");
                continue;
            }
        };
        let loaded = begun.elapsed();
        encode("warm")?;
        let expected: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(dir.join(name.replace(".tokenizer.json", ".ids.json")))?)?;
        let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut wrong = 0;
        for (case, expected) in texts.iter().zip(&expected) {
            let prompt = case["text"].as_str().unwrap_or_default();
            let begun = Instant::now();
            let ids = encode(prompt);
            let took = begun.elapsed().as_secs_f64() * 1e6;
            wrong += usize::from(ids.as_ref() != Ok(expected));
            times.entry(format!("{} {}", case["kind"].as_str().unwrap_or_default(), case["size"])).or_default().push(took);
        }
        let times: Vec<String> = times
            .into_iter()
            .map(|(what, mut all)| {
                all.sort_by(f64::total_cmp);
                format!("{what}: {:.1}", all.get(all.len() / 2).copied().unwrap_or_default())
            })
            .collect();
        println!("{by}\t{name}\tloaded in {:.0} ms\t{wrong} of {} wrong\t{}", loaded.as_secs_f64() * 1e3, texts.len(), times.join(" | "));
    }
    Ok(())
}
