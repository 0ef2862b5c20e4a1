//! Which hooks a policy implements, as constants, so that `export_policy!` can compare them with
//! those that it lists.
//!
//! For a type that implements the hook the inherent constant is found, for any other that of
//! [`Missing`].

use core::marker::PhantomData;

use crate::policy::{CompletionHook, FirstTokenHook, PairHook, SessionEndHook, StateHook};

/// What is said of a policy without the hook.
pub trait Missing {
    /// It does not have it.
    const IMPLEMENTED: bool = false;
}

macro_rules! check {
    ($name:ident, $hook:ident) => {
        /// Whether `P` implements the hook of this name.
        #[derive(Debug)]
        pub struct $name<P>(PhantomData<P>);

        impl<P> Missing for $name<P> {}

        impl<P: $hook> $name<P> {
            /// It has it.
            pub const IMPLEMENTED: bool = true;
        }
    };
}

check!(Pair, PairHook);
check!(FirstToken, FirstTokenHook);
check!(Completion, CompletionHook);
check!(SessionEnd, SessionEndHook);
check!(State, StateHook);
