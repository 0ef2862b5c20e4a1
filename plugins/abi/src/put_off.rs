//! Answers that choose nobody on purpose: to wait, or to refuse.

use crate::error::{DecodeError, Expected, Full};
use crate::reader::Reader;
use crate::writer::Writer;

/// `wait`: the host holds the request, and asks again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WaitAnswer {
    /// The place in the order in which held requests are asked again: smallest first. Not NaN.
    pub key: f64,
    /// How long the request may be held, counted from when it was held first. None: as long as the host
    /// lets it.
    pub deadline_ms: Option<u64>,
}

/// `shed`: the host refuses the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShedAnswer {
    /// After how long its client may try again.
    pub retry_after_ms: u64,
}

impl WaitAnswer {
    /// Reads the map; unknown keys are ignored, a key that is absent is 0.0.
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        if r.nil() {
            return Ok(None);
        }
        let mut wait = Self { key: 0.0, deadline_ms: None };
        for _ in 0..r.map()? {
            match r.str()? {
                "key" => wait.key = r.number()?,
                "deadline_ms" => wait.deadline_ms = if r.nil() { None } else { Some(r.uint()?) },
                _ => r.skip()?,
            }
        }
        if wait.key.is_nan() {
            return Err(DecodeError::OutOfRange { expected: Expected::WaitKey });
        }
        Ok(Some(wait))
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        w.map(1 + usize::from(self.deadline_ms.is_some()))?;
        w.str("key")?;
        w.f64(self.key)?;
        if let Some(deadline) = self.deadline_ms {
            w.str("deadline_ms")?;
            w.uint(deadline)?;
        }
        Ok(())
    }
}

impl ShedAnswer {
    /// Reads the map; unknown keys are ignored, a time that is absent is 0.
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        if r.nil() {
            return Ok(None);
        }
        let mut shed = Self { retry_after_ms: 0 };
        for _ in 0..r.map()? {
            match r.str()? {
                "retry_after_ms" => shed.retry_after_ms = r.uint()?,
                _ => r.skip()?,
            }
        }
        Ok(Some(shed))
    }

    pub(crate) fn write(&self, w: &mut Writer<'_>) -> Result<(), Full> {
        w.map(1)?;
        w.str("retry_after_ms")?;
        w.uint(self.retry_after_ms)
    }
}
