//! The macros of the crate.

/// Logs a line with values in it: `log!(Level::Info, "{} workers", n)`.
///
/// Links formatting code into the plugin, some KiB; [`host::log`](crate::host::log)
/// with a fixed text does not.
#[macro_export]
macro_rules! log {
    ($level:expr, $($format:tt)+) => {
        $crate::host::log($level, &$crate::alloc::format!($($format)+))
    };
}

/// Names a policy and, on wasm32, writes its manifest and exports.
///
/// ```text
/// export_policy! {
///     policy: MyPolicy,                     // implements Policy
///     name: "my_policy",
///     description: "what it does",
///     inputs: [Healthy, Excluded, Load, Header("x-session-id"), Field("/user"), Random],
///     concurrency: Serial,                  // optional, default Parallel
///     hooks: [select_pair, on_first_token, on_complete, on_session_end, state],  // optional, default none
/// }
/// ```
///
/// `inputs` are variants of [`Input`](crate::abi::Input): reading one that is not listed fails the
/// build. The version is the crate's own. `hooks` are those whose traits the policy implements; a
/// difference fails the build. They may also have `without_table`: the plugin then never gets the worker
/// table, which saves its memory if only signals matter.
#[macro_export]
macro_rules! export_policy {
    (
        policy: $policy:ty,
        name: $name:literal,
        description: $description:literal,
        inputs: [$($input:ident $(($rest:literal))?),* $(,)?]
        $(, concurrency: $concurrency:ident)?
        $(, hooks: [$($hook:ident),* $(,)?])?
        $(,)?
    ) => {
        impl $crate::Declares for $policy {
            const MANIFEST: $crate::StaticManifest = $crate::StaticManifest {
                name: $name,
                version: ::core::env!("CARGO_PKG_VERSION"),
                description: $description,
                inputs: &[$($crate::__input!($input $(($rest))?)),*],
                concurrency: $crate::__concurrency!($($concurrency)?),
            };
        }

        impl $crate::Plugin for $policy {
            const HOOKS: $crate::Hooks = $crate::Hooks::DEFAULT$($(.$hook())*)?;

            #[inline]
            fn read_inputs(
                message: &mut $crate::Message<'_>,
            ) -> ::core::result::Result<(), $crate::MessageError> {
                $(message.read(&$crate::__input!($input $(($rest))?))?;)*
                ::core::result::Result::Ok(())
            }

            #[inline]
            fn take_inputs(message: &mut $crate::Message<'_>) -> ::core::option::Option<()> {
                $(message.take(&$crate::__input!($input $(($rest))?))?;)*
                ::core::option::Option::Some(())
            }
        }

        $crate::__compare_hooks!($policy);

        #[cfg(target_arch = "wasm32")]
        mod sgl_policy_exports {
            use super::*;
            type Exported = $policy;
            $crate::__exports!();
            $crate::__table_export!([$($($hook)*)?]);
            $($($crate::__hook_export!($hook);)*)?
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __compare_hooks {
    ($policy:ty) => {
        const _: () = {
            use $crate::hook_check::Missing as _;
            // Uses the trait, which a policy that has all hooks does not need.
            const _: bool = $crate::hook_check::Pair::<()>::IMPLEMENTED;
            const LISTED: $crate::Hooks = <$policy as $crate::Plugin>::HOOKS;
            assert!(
                LISTED.select_pair == $crate::hook_check::Pair::<$policy>::IMPLEMENTED,
                "`select_pair` is listed in `hooks` of export_policy! if, and only if, the policy implements PairHook"
            );
            assert!(
                LISTED.on_first_token == $crate::hook_check::FirstToken::<$policy>::IMPLEMENTED,
                "`on_first_token` is listed in `hooks` of export_policy! if, and only if, the policy implements \
                 FirstTokenHook"
            );
            assert!(
                LISTED.on_complete == $crate::hook_check::Completion::<$policy>::IMPLEMENTED,
                "`on_complete` is listed in `hooks` of export_policy! if, and only if, the policy implements \
                 CompletionHook"
            );
            assert!(
                LISTED.on_session_end == $crate::hook_check::SessionEnd::<$policy>::IMPLEMENTED,
                "`on_session_end` is listed in `hooks` of export_policy! if, and only if, the policy implements \
                 SessionEndHook"
            );
            assert!(
                LISTED.state == $crate::hook_check::State::<$policy>::IMPLEMENTED,
                "`state` is listed in `hooks` of export_policy! if, and only if, the policy implements StateHook"
            );
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __input {
    ($input:ident ($rest:literal)) => {
        $crate::abi::Input::$input($crate::alloc::borrow::Cow::Borrowed($rest))
    };
    ($input:ident) => {
        $crate::abi::Input::$input
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __concurrency {
    () => {
        $crate::abi::Concurrency::Parallel
    };
    ($concurrency:ident) => {
        $crate::abi::Concurrency::$concurrency
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __exports {
    () => {
        const MANIFEST: $crate::StaticManifest = <Exported as $crate::Declares>::MANIFEST;

        #[expect(unsafe_code, reason = "names a section of the module")]
        // SAFETY: a custom section that only the host reads.
        #[unsafe(link_section = "sgl.policy")]
        #[used]
        static SECTION: [u8; MANIFEST.encoded_len()] = MANIFEST.encode();

        static INSTANCE: $crate::exports::GuestCell<Exported> = $crate::exports::GuestCell::new();

        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn alloc(size: usize) -> *mut u8 {
            $crate::exports::alloc(size)
        }

        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn dealloc(ptr: *mut u8, size: usize) {
            // SAFETY: the host gives back what it got from `alloc`, once.
            unsafe { $crate::exports::dealloc(ptr, size) }
        }

        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn init(ptr: usize, len: usize) -> i64 {
            INSTANCE.answer(ptr, len, |guest, message| $crate::exports::result(guest.init(message)))
        }

        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn select_worker(ptr: usize, len: usize) -> i64 {
            INSTANCE.answer(ptr, len, |guest, message| $crate::exports::result(guest.select(message)))
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __table_export {
    ([without_table $($rest:ident)*]) => {};
    ([$other:ident $($rest:ident)*]) => {
        $crate::__table_export!([$($rest)*]);
    };
    ([]) => {
        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn on_workers(ptr: usize, len: usize) {
            INSTANCE.answer(ptr, len, |guest, message| {
                guest.on_workers(message);
                0
            });
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __hook_export {
    (without_table) => {};
    (select_pair) => {
        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn select_worker_pair(ptr: usize, len: usize) -> i64 {
            INSTANCE.answer(ptr, len, |guest, message| $crate::exports::result(guest.select_pair(message)))
        }
    };
    (on_first_token) => {
        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn on_first_token(ptr: usize, len: usize) {
            INSTANCE.answer(ptr, len, |guest, message| {
                guest.on_first_token(message);
                0
            });
        }
    };
    (on_complete) => {
        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn on_complete(ptr: usize, len: usize) {
            INSTANCE.answer(ptr, len, |guest, message| {
                guest.on_complete(message);
                0
            });
        }
    };
    (on_session_end) => {
        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn on_session_end(ptr: usize, len: usize) {
            INSTANCE.answer(ptr, len, |guest, message| {
                guest.on_session_end(message);
                0
            });
        }
    };
    (state) => {
        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn save_state() -> i64 {
            INSTANCE.answer(0, 0, |guest, _| $crate::exports::result(guest.save_state()))
        }

        #[expect(unsafe_code, reason = "an export of the plugin ABI")]
        // SAFETY: no other function of the module has this name.
        #[unsafe(no_mangle)]
        extern "C" fn restore_state(ptr: usize, len: usize) {
            INSTANCE.answer(ptr, len, |guest, message| {
                guest.restore_state(message);
                0
            });
        }
    };
}
