//! One file per subcommand of `sgl-router`.

pub mod sim_worker;
