//! Extism's library, through the part of its C interface that calls a plugin.

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_void;
use std::path::Path;

use libloading::Library;
use libloading::Symbol;

type Create =
    unsafe extern "C" fn(*const u8, u64, *const *const c_void, u64, bool, *mut *mut c_char) -> *mut c_void;
type Call = unsafe extern "C" fn(*mut c_void, *const c_char, *const u8, u64) -> i32;
type OutputLength = unsafe extern "C" fn(*mut c_void) -> u64;
type OutputData = unsafe extern "C" fn(*mut c_void) -> *const u8;
type Version = unsafe extern "C" fn() -> *const c_char;

/// A plugin that is kept until the program ends.
pub(crate) struct Plugin {
    plugin: *mut c_void,
    call: Call,
    output_length: OutputLength,
    output_data: OutputData,
    version: Version,
    /// Holds what the functions above are in.
    _library: Library,
}

#[expect(unsafe_code, reason = "the interface is in C")]
impl Plugin {
    /// A plugin of this module, without WASI and functions of the host.
    pub(crate) fn new(library: &Path, module: &[u8]) -> anyhow::Result<Self> {
        // SAFETY: the library's initialisers are Rust's own. The types are those of `extism.h`
        // where `size_t` has 64 bits; the functions are kept no longer than the library.
        unsafe {
            let library = Library::new(library)?;
            let create: Symbol<'_, Create> = library.get(b"extism_plugin_new")?;
            let length = u64::try_from(module.len())?;
            let none = std::ptr::null();
            let plugin = create(module.as_ptr(), length, none, 0, false, std::ptr::null_mut());
            anyhow::ensure!(!plugin.is_null(), "Extism refuses the module");
            Ok(Self {
                plugin,
                call: *library.get(b"extism_plugin_call")?,
                output_length: *library.get(b"extism_plugin_output_length")?,
                output_data: *library.get(b"extism_plugin_output_data")?,
                version: *library.get(b"extism_version")?,
                _library: library,
            })
        }
    }

    /// What an export answers to an input.
    pub(crate) fn call(&mut self, export: &CStr, input: &[u8]) -> anyhow::Result<&[u8]> {
        // SAFETY: the plugin is alive and this is its only user; the input outlives the call, and
        // the output stays until the next one, which needs this borrow to be over.
        unsafe {
            let code = (self.call)(self.plugin, export.as_ptr(), input.as_ptr(), u64::try_from(input.len())?);
            anyhow::ensure!(code == 0, "the call failed with {code}");
            let length = usize::try_from((self.output_length)(self.plugin))?;
            anyhow::ensure!(length > 0, "the answer is empty");
            Ok(std::slice::from_raw_parts((self.output_data)(self.plugin), length))
        }
    }

    /// The library's version.
    pub(crate) fn version(&self) -> String {
        // SAFETY: a constant of the library.
        unsafe { CStr::from_ptr((self.version)()) }.to_string_lossy().into_owned()
    }
}
