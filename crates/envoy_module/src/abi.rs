//! What of Envoy's ABI for dynamic modules is used, in safe wrappers.
//!
//! Version v0.2.0, that of Envoy 1.40: names, parameters and numbers are facts of
//! `source/extensions/dynamic_modules/abi/abi.h`. The names are resolved when the module is loaded; an Envoy
//! that lacks one refuses the module and says which.
#![expect(
    unsafe_code,
    reason = "functions and memory of another program, which only its documents vouch for"
)]

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr;

/// The version of the ABI that is declared here, which Envoy compares with its own.
pub const ABI_VERSION: &CStr = c"v0.2.0";

/// How important a line of Envoy's log is, in Envoy's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LogLevel {
    /// Steps.
    Debug = 1,
    /// What has changed.
    Info = 2,
    /// What an operator should look at.
    Warn = 3,
    /// What does not work.
    Error = 4,
}

/// Envoy's number of the gauge of requests that a host has in flight, from all threads.
const REQUESTS_ACTIVE: u32 = 7;

/// Bytes of this module that Envoy reads during a call.
#[derive(Clone, Copy)]
#[repr(C)]
struct ModuleText {
    start: *const c_char,
    bytes: usize,
}

impl ModuleText {
    fn of(text: &str) -> Self {
        Self { start: text.as_ptr().cast(), bytes: text.len() }
    }
}

/// Bytes of Envoy's.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct EnvoyText {
    start: *const c_char,
    bytes: usize,
}

impl EnvoyText {
    const NONE: Self = Self { start: ptr::null(), bytes: 0 };

    /// The text, if it is UTF-8.
    ///
    /// # Safety
    ///
    /// Envoy's bytes live for `'a` and do not change.
    pub(crate) unsafe fn text<'a>(self) -> Option<&'a str> {
        if self.start.is_null() {
            return Some("");
        }
        // SAFETY: Envoy gave start and length together; the caller vouches for the time.
        let bytes = unsafe { std::slice::from_raw_parts(self.start.cast::<u8>(), self.bytes) };
        std::str::from_utf8(bytes).ok()
    }
}

#[rustfmt::skip]
unsafe extern "C" {
    fn envoy_dynamic_module_callback_log(level: u32, message: ModuleText);
    fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;
    fn envoy_dynamic_module_callback_lb_get_cluster_name(lb: *mut c_void, name: *mut EnvoyText);
    fn envoy_dynamic_module_callback_lb_get_priority_set_size(lb: *mut c_void) -> usize;
    fn envoy_dynamic_module_callback_lb_get_hosts_count(lb: *mut c_void, priority: u32) -> usize;
    fn envoy_dynamic_module_callback_lb_get_healthy_hosts_count(lb: *mut c_void, priority: u32) -> usize;
    fn envoy_dynamic_module_callback_lb_get_healthy_host_address(lb: *mut c_void, priority: u32, index: usize, address: *mut EnvoyText) -> bool;
    fn envoy_dynamic_module_callback_lb_get_host_address(lb: *mut c_void, priority: u32, index: usize, address: *mut EnvoyText) -> bool;
    fn envoy_dynamic_module_callback_lb_get_host_weight(lb: *mut c_void, priority: u32, index: usize) -> u32;
    fn envoy_dynamic_module_callback_lb_get_host_locality(lb: *mut c_void, priority: u32, index: usize, region: *mut EnvoyText, zone: *mut EnvoyText, sub_zone: *mut EnvoyText) -> bool;
    fn envoy_dynamic_module_callback_lb_get_host_metadata_string(lb: *mut c_void, priority: u32, index: usize, namespace: ModuleText, key: ModuleText, value: *mut EnvoyText) -> bool;
    fn envoy_dynamic_module_callback_lb_get_host_metadata_number(lb: *mut c_void, priority: u32, index: usize, namespace: ModuleText, key: ModuleText, value: *mut f64) -> bool;
    fn envoy_dynamic_module_callback_lb_get_host_metadata_bool(lb: *mut c_void, priority: u32, index: usize, namespace: ModuleText, key: ModuleText, value: *mut bool) -> bool;
    fn envoy_dynamic_module_callback_lb_get_host_stat(lb: *mut c_void, priority: u32, index: usize, stat: u32) -> u64;
    fn envoy_dynamic_module_callback_lb_context_compute_hash_key(context: *mut c_void, hash: *mut u64) -> bool;
    fn envoy_dynamic_module_callback_lb_context_get_downstream_header(context: *mut c_void, name: ModuleText, value: *mut EnvoyText, index: usize, count: *mut usize) -> bool;
    fn envoy_dynamic_module_callback_lb_context_get_host_selection_retry_count(context: *mut c_void) -> u32;
    fn envoy_dynamic_module_callback_lb_context_should_select_another_host(lb: *mut c_void, context: *mut c_void, priority: u32, index: usize) -> bool;
    fn envoy_dynamic_module_callback_lb_config_define_counter(config: *mut c_void, name: ModuleText, labels: *const ModuleText, label_count: usize, id: *mut usize) -> u32;
    fn envoy_dynamic_module_callback_lb_config_increment_counter(config: *mut c_void, id: usize, labels: *const ModuleText, label_count: usize, by: u64) -> u32;
    fn envoy_dynamic_module_callback_lb_config_define_gauge(config: *mut c_void, name: ModuleText, labels: *const ModuleText, label_count: usize, id: *mut usize) -> u32;
    fn envoy_dynamic_module_callback_lb_config_set_gauge(config: *mut c_void, id: usize, labels: *const ModuleText, label_count: usize, value: u64) -> u32;
}

/// True if Envoy keeps log lines of this level.
pub(crate) fn logs(level: LogLevel) -> bool {
    // SAFETY: it reads a number of a logger that lives as long as the process.
    unsafe { envoy_dynamic_module_callback_log_enabled(level as u32) }
}

/// Writes to Envoy's log, under `dynamic_modules`. From any thread.
pub(crate) fn log(level: LogLevel, message: &str) {
    // SAFETY: Envoy reads the message during the call, and its logger is locked.
    unsafe { envoy_dynamic_module_callback_log(level as u32, ModuleText::of(message)) }
}

/// The hosts of a cluster as a worker thread knows them. Valid on that thread, during one call of Envoy's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClusterHosts<'call> {
    lb: *mut c_void,
    call: PhantomData<&'call ()>,
}

impl<'call> ClusterHosts<'call> {
    /// # Safety
    ///
    /// `lb` is the load balancer that Envoy passed to the call that lasts for `'call`, on this thread.
    pub(crate) unsafe fn new(lb: *mut c_void) -> Self {
        Self { lb, call: PhantomData }
    }

    /// The cluster's name.
    pub(crate) fn cluster(self) -> Option<&'call str> {
        let mut name = EnvoyText::NONE;
        // SAFETY: `lb` is valid by `new`; `name` is written during the call.
        unsafe { envoy_dynamic_module_callback_lb_get_cluster_name(self.lb, &raw mut name) };
        // SAFETY: the name lives as long as the load balancer.
        unsafe { name.text() }
    }

    /// How many priorities there are.
    pub(crate) fn priorities(self) -> u32 {
        // SAFETY: `lb` is valid by `new`.
        let priorities = unsafe { envoy_dynamic_module_callback_lb_get_priority_set_size(self.lb) };
        u32::try_from(priorities).unwrap_or(u32::MAX)
    }

    /// How many hosts there are of a priority.
    pub(crate) fn count(self, priority: u32) -> usize {
        // SAFETY: `lb` is valid by `new`.
        unsafe { envoy_dynamic_module_callback_lb_get_hosts_count(self.lb, priority) }
    }

    /// How many of them are healthy.
    pub(crate) fn healthy_count(self, priority: u32) -> usize {
        // SAFETY: `lb` is valid by `new`.
        unsafe { envoy_dynamic_module_callback_lb_get_healthy_hosts_count(self.lb, priority) }
    }

    /// The address of a host, by its place among the healthy ones.
    pub(crate) fn healthy_address(self, priority: u32, index: usize) -> Option<&'call str> {
        let mut address = EnvoyText::NONE;
        let to = &raw mut address;
        // SAFETY: `lb` is valid by `new`; `address` is written during the call.
        let known = unsafe {
            envoy_dynamic_module_callback_lb_get_healthy_host_address(self.lb, priority, index, to)
        };
        // SAFETY: hosts do not change while Envoy waits for the module.
        known.then(|| unsafe { address.text() }).flatten()
    }

    /// The address of a host, by its place among all.
    pub(crate) fn address(self, priority: u32, index: usize) -> Option<&'call str> {
        let mut address = EnvoyText::NONE;
        let to = &raw mut address;
        // SAFETY: `lb` is valid by `new`; `address` is written during the call.
        let known =
            unsafe { envoy_dynamic_module_callback_lb_get_host_address(self.lb, priority, index, to) };
        // SAFETY: hosts do not change while Envoy waits for the module.
        known.then(|| unsafe { address.text() }).flatten()
    }

    /// The weight of a host.
    pub(crate) fn weight(self, priority: u32, index: usize) -> u32 {
        // SAFETY: `lb` is valid by `new`.
        unsafe { envoy_dynamic_module_callback_lb_get_host_weight(self.lb, priority, index) }
    }

    /// The requests that a host has in flight, from all of Envoy's threads.
    pub(crate) fn active_requests(self, priority: u32, index: usize) -> usize {
        // SAFETY: `lb` is valid by `new`.
        let active = unsafe {
            envoy_dynamic_module_callback_lb_get_host_stat(self.lb, priority, index, REQUESTS_ACTIVE)
        };
        usize::try_from(active).unwrap_or(usize::MAX)
    }

    /// Region, zone and sub-zone of a host.
    pub(crate) fn locality(self, priority: u32, index: usize) -> [Option<&'call str>; 3] {
        let mut parts = [EnvoyText::NONE; 3];
        let [region, zone, sub_zone] = parts.each_mut().map(ptr::from_mut);
        // SAFETY: `lb` is valid by `new`; the three are written during the call.
        let known = unsafe {
            envoy_dynamic_module_callback_lb_get_host_locality(
                self.lb, priority, index, region, zone, sub_zone,
            )
        };
        // SAFETY: hosts do not change while Envoy waits for the module.
        let text = |part: EnvoyText| known.then(|| unsafe { part.text() }).flatten();
        parts.map(|part| text(part).filter(|text| !text.is_empty()))
    }

    /// A value of a host's metadata as text: a text, a number or a truth value.
    pub(crate) fn metadata(self, priority: u32, index: usize, namespace: &str, key: &str) -> Option<String> {
        let (namespace, key) = (ModuleText::of(namespace), ModuleText::of(key));
        let (mut text, mut number, mut truth) = (EnvoyText::NONE, 0.0, false);
        let to = &raw mut text;
        // SAFETY: `lb` is valid by `new`; Envoy reads the names and writes the value during the call.
        let is_text = unsafe {
            envoy_dynamic_module_callback_lb_get_host_metadata_string(
                self.lb, priority, index, namespace, key, to,
            )
        };
        if is_text {
            // SAFETY: hosts do not change while Envoy waits for the module.
            return unsafe { text.text() }.map(str::to_owned);
        }
        let to = &raw mut number;
        // SAFETY: as above.
        let is_number = unsafe {
            envoy_dynamic_module_callback_lb_get_host_metadata_number(
                self.lb, priority, index, namespace, key, to,
            )
        };
        if is_number {
            return Some(number.to_string());
        }
        let to = &raw mut truth;
        // SAFETY: as above.
        let is_truth = unsafe {
            envoy_dynamic_module_callback_lb_get_host_metadata_bool(
                self.lb, priority, index, namespace, key, to,
            )
        };
        is_truth.then(|| truth.to_string())
    }
}

/// The request that a host is chosen for. Valid on one thread, during one call of Envoy's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestContext<'call> {
    context: *mut c_void,
    call: PhantomData<&'call ()>,
}

// SAFETY: a policy looks a header up while it decides, on the thread that asked it; the interface of the library
// wants what it is given to be shareable all the same. No reference to it outlives the call, by `'call`.
unsafe impl Sync for RequestContext<'_> {}

impl<'call> RequestContext<'call> {
    /// # Safety
    ///
    /// `context` is what Envoy passed to the call that lasts for `'call`, on this thread; it may be null.
    pub(crate) unsafe fn new(context: *mut c_void) -> Self {
        Self { context, call: PhantomData }
    }

    /// The first value of a header, by its lower-case name.
    pub(crate) fn header(self, name: &str) -> Option<&'call str> {
        let mut value = EnvoyText::NONE;
        let (name, to) = (ModuleText::of(name), &raw mut value);
        // SAFETY: `context` is valid by `new`, and null is allowed; Envoy reads and writes during the call.
        let found = unsafe {
            envoy_dynamic_module_callback_lb_context_get_downstream_header(
                self.context,
                name,
                to,
                0,
                ptr::null_mut(),
            )
        };
        // SAFETY: headers do not change while Envoy waits for the module.
        found.then(|| unsafe { value.text() }).flatten()
    }

    /// What the route's hash policy makes of the request, if it has one.
    pub(crate) fn hash_key(self) -> Option<u64> {
        let mut hash = 0;
        // SAFETY: `context` is valid by `new`, and null is allowed; `hash` is written during the call.
        let known =
            unsafe { envoy_dynamic_module_callback_lb_context_compute_hash_key(self.context, &raw mut hash) };
        known.then_some(hash)
    }

    /// How often a host may be chosen anew because Envoy does not want the chosen one: 1 unless this is a retry
    /// under a policy that avoids hosts.
    pub(crate) fn selection_attempts(self) -> u32 {
        // SAFETY: `context` is valid by `new`, and null is allowed.
        unsafe { envoy_dynamic_module_callback_lb_context_get_host_selection_retry_count(self.context) }
    }

    /// True if Envoy does not want this host, by its place among all of the priority.
    pub(crate) fn avoids(self, hosts: ClusterHosts<'call>, priority: u32, index: usize) -> bool {
        // SAFETY: both are valid by their `new`, and null is allowed.
        unsafe {
            envoy_dynamic_module_callback_lb_context_should_select_another_host(
                hosts.lb,
                self.context,
                priority,
                index,
            )
        }
    }
}

/// Where the metrics of a cluster are. Metrics may be defined only while Envoy waits for the new configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricsScope {
    config: *mut c_void,
}

// SAFETY: Envoy's counters and gauges are atomic, and the list of them does not change once the configuration is
// there.
unsafe impl Send for MetricsScope {}

/// A counter or gauge, by Envoy's number; `None` if Envoy did not make it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricId(Option<usize>);

impl MetricsScope {
    /// # Safety
    ///
    /// `config` is what Envoy passed with a new configuration; no copy is used once that is destroyed.
    pub(crate) unsafe fn new(config: *mut c_void) -> Self {
        Self { config }
    }

    /// A new counter.
    pub(crate) fn counter(self, name: &str) -> MetricId {
        let (mut id, name) = (0, ModuleText::of(name));
        let to = &raw mut id;
        // SAFETY: `config` is valid by `new`; Envoy reads and writes during the call.
        let result = unsafe {
            envoy_dynamic_module_callback_lb_config_define_counter(self.config, name, ptr::null(), 0, to)
        };
        MetricId((result == 0).then_some(id))
    }

    /// A new gauge.
    pub(crate) fn gauge(self, name: &str) -> MetricId {
        let (mut id, name) = (0, ModuleText::of(name));
        let to = &raw mut id;
        // SAFETY: `config` is valid by `new`; Envoy reads and writes during the call.
        let result = unsafe {
            envoy_dynamic_module_callback_lb_config_define_gauge(self.config, name, ptr::null(), 0, to)
        };
        MetricId((result == 0).then_some(id))
    }

    /// Counts.
    pub(crate) fn add(self, counter: MetricId, by: u64) {
        let Some(id) = counter.0 else { return };
        // SAFETY: `config` is valid by `new`.
        unsafe {
            envoy_dynamic_module_callback_lb_config_increment_counter(self.config, id, ptr::null(), 0, by);
        }
    }

    /// Sets a gauge.
    pub(crate) fn set(self, gauge: MetricId, value: u64) {
        let Some(id) = gauge.0 else { return };
        // SAFETY: `config` is valid by `new`.
        unsafe {
            envoy_dynamic_module_callback_lb_config_set_gauge(self.config, id, ptr::null(), 0, value);
        }
    }
}
