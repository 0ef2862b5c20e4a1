//! Token ids of prompts that come as text, from tokenizers that the operator names per model.
//!
//! A request that is to be tokenized goes, as it came, to threads of this module's own, which render
//! its chat template and tokenize what comes out. Threads that serve only wait for the ids, and not
//! for long: whoever gets none goes on with an estimate. The threads are few because the tokenizer
//! keeps caches for each thread that it ever ran on, and needs some 40 ms on a new one.
//!
//! Nothing here knows workers or policies. The data plane calls it, only for what a policy declares.

mod tokenizer_files;
mod python_json;
mod template_clock;
mod chat_template;
mod prompt_body;
mod model_tokenizer;
mod tokenizer_set;
mod encoders;
mod tokenizing;

pub(crate) use crate::tokens::model_tokenizer::TokenizedPrompt;
pub(crate) use crate::tokens::prompt_body::PromptForm;
pub(crate) use crate::tokens::tokenizer_set::TokenizerSet;
pub(crate) use crate::tokens::tokenizing::Tokenizing;
