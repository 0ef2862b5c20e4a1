//! What Envoy calls: the event hooks of a dynamic module that is a load balancing policy.
//!
//! Envoy makes a configuration on its main thread, a load balancer of it on each worker thread, and uses a load
//! balancer on its own thread only. It destroys load balancers before their configuration.
#![expect(unsafe_code, reason = "names and pointers that another program agreed upon")]

use std::ffi::{c_char, c_void};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use crate::abi::{ABI_VERSION, ClusterHosts, EnvoyText, LogLevel, MetricsScope, RequestContext, log};
use crate::balancer::Balancer;
use crate::cluster_policy::{ClusterPolicy, SharedPolicy, in_full};
use crate::{envoy_log, envoy_version};

/// What `body` gives, or what is given for a panic. A panic that left the module would end Envoy.
fn guarded<T>(what: &str, on_panic: T, body: impl FnOnce() -> T) -> T {
    // What a panic leaves half done is either thrown away or read anew.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        log(LogLevel::Error, &format!("sgl_policy: a fault of the module's own while {what}: {text}"));
        on_panic
    })
}

/// The module is loaded: the version of its ABI, or null if it does not serve this Envoy.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    let checked = catch_unwind(envoy_version::check);
    match checked {
        Ok(Ok(())) => ABI_VERSION.as_ptr(),
        Ok(Err(error)) => {
            // Not by Envoy's log, whose call may be another one there.
            let _ = writeln!(std::io::stderr(), "sgl_policy: {error}");
            ptr::null()
        }
        Err(_) => ptr::null(),
    }
}

/// A cluster is configured: its policy, or null if it cannot be.
///
/// # Safety
///
/// As Envoy calls it: `config` lives until the policy is destroyed, the texts during the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_config_new(
    config: *mut c_void,
    name: EnvoyText,
    settings: EnvoyText,
) -> *const c_void {
    guarded("reading a configuration", ptr::null(), || {
        envoy_log::install();
        // SAFETY: `config` lives until `on_lb_config_destroy`, which ends the thread that uses it.
        let scope = unsafe { MetricsScope::new(config) };
        // SAFETY: the text lives during the call.
        let name = unsafe { name.text() }.unwrap_or_default();
        // SAFETY: the text lives during the call.
        let Some(settings) = (unsafe { settings.text() }) else {
            log(
                LogLevel::Error,
                "sgl_policy: lb_policy_config is no UTF-8: a google.protobuf.Struct is expected",
            );
            return ptr::null();
        };
        match ClusterPolicy::new(name, settings, scope) {
            Ok(policy) => Arc::into_raw(SharedPolicy::new(policy)).cast(),
            Err(error) => {
                log(LogLevel::Error, &format!("sgl_policy: policy {name:?}: {}", in_full(&error)));
                ptr::null()
            }
        }
    })
}

/// No thread uses the policy any more.
///
/// # Safety
///
/// `policy` is what `on_lb_config_new` gave, for the last time.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_config_destroy(policy: *const c_void) {
    guarded("destroying a configuration", (), || {
        // SAFETY: it is the pointer of `on_lb_config_new`, which gave up this count.
        drop(unsafe { Arc::from_raw(policy.cast::<ClusterPolicy>()) });
    });
}

/// A worker thread gets its load balancer.
///
/// # Safety
///
/// `policy` is what `on_lb_config_new` gave, not yet destroyed.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_new(policy: *const c_void, lb: *mut c_void) -> *mut c_void {
    guarded("making a load balancer", ptr::null_mut(), || {
        let policy = policy.cast::<ClusterPolicy>();
        // SAFETY: the policy lives, as an `Arc`.
        unsafe { Arc::increment_strong_count(policy) };
        // SAFETY: the count of the line before is this one's.
        let policy = unsafe { Arc::from_raw(policy) };
        // SAFETY: `lb` is of this call.
        let hosts = unsafe { ClusterHosts::new(lb) };
        tracing::debug!("a thread balances {}", hosts.cluster().unwrap_or_default());
        Box::into_raw(Box::new(Balancer::new(policy))).cast()
    })
}

/// The thread does not use its load balancer any more.
///
/// # Safety
///
/// `balancer` is what `on_lb_new` gave, for the last time.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_destroy(balancer: *mut c_void) {
    guarded("destroying a load balancer", (), || {
        // SAFETY: it is the pointer of `on_lb_new`, and nobody has it any more.
        drop(unsafe { Box::from_raw(balancer.cast::<Balancer>()) });
    });
}

/// Hosts came, went or changed.
///
/// # Safety
///
/// `balancer` is what `on_lb_new` gave, on the same thread, and no other call with it is under way.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_on_host_membership_update(
    _lb: *mut c_void,
    balancer: *mut c_void,
    _added: usize,
    _removed: usize,
) {
    // SAFETY: it is the pointer of `on_lb_new`, of this thread only.
    if let Some(balancer) = unsafe { balancer.cast::<Balancer>().as_mut() } {
        balancer.hosts_changed();
    }
}

/// A request wants a host. False if there is none.
///
/// # Safety
///
/// `balancer` is what `on_lb_new` gave, on the same thread, and no other call with it is under way; the rest is
/// of this call. `context` may be null.
#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_on_lb_choose_host(
    lb: *mut c_void,
    balancer: *mut c_void,
    context: *mut c_void,
    priority: *mut u32,
    index: *mut u32,
) -> bool {
    // SAFETY: it is the pointer of `on_lb_new`, of this thread only.
    let Some(balancer) = (unsafe { balancer.cast::<Balancer>().as_mut() }) else { return false };
    // SAFETY: `lb` is of this call.
    let hosts = unsafe { ClusterHosts::new(lb) };
    // SAFETY: `context` is of this call.
    let request = unsafe { RequestContext::new(context) };
    let chosen = guarded("choosing a host", None, || Some(balancer.choose(hosts, request)));
    let chosen = chosen.unwrap_or_else(|| {
        balancer.hosts_changed();
        guarded("taking turns", None, || balancer.take_turns(hosts))
    });
    let Some(chosen) = chosen else { return false };
    // SAFETY: Envoy gave where the answer belongs.
    unsafe { priority.write(chosen.0) };
    // SAFETY: Envoy gave where the answer belongs.
    unsafe { index.write(chosen.1) };
    true
}
