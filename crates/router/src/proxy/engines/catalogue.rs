//! Which adapters there are.

use crate::config::engine_setting::EngineSetting;
use crate::proxy::engines::adapter::Adapter;
use crate::proxy::engines::llama_cpp::LLAMA_CPP;
use crate::proxy::engines::none::NONE;
use crate::proxy::engines::sglang::SGLANG;
use crate::proxy::engines::vllm::VLLM;

/// Those that can be found out by asking, in the order in which they are tried.
pub(crate) const ALL: [&Adapter; 3] = [&SGLANG, &VLLM, &LLAMA_CPP];

/// The adapter that the operator names; `None` if the router has to find out.
pub(crate) fn of(setting: EngineSetting) -> Option<&'static Adapter> {
    match setting {
        EngineSetting::Auto => None,
        EngineSetting::Sglang => Some(&SGLANG),
        EngineSetting::Vllm => Some(&VLLM),
        EngineSetting::Llamacpp => Some(&LLAMA_CPP),
        EngineSetting::None => Some(&NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapter_has_the_name_of_its_setting() {
        use EngineSetting::{Auto, Llamacpp, None, Sglang, Vllm};
        for setting in [Sglang, Vllm, Llamacpp, None] {
            assert_eq!(of(setting).map(|adapter| adapter.name), Some(setting.as_str()));
        }
        assert!(of(Auto).is_none());
        assert!(ALL.iter().all(|adapter| adapter.name != NONE.name));
    }
}
