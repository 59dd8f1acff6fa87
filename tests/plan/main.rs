//! From a spec, a list and answers to whole objects: what the pure rooms do together.

mod builders;
mod config_map;
mod coverage;
mod decide;
mod documentation;
mod dry_run;
mod exactness;
mod golden;
mod memory;
mod profiles;
mod requirements;
mod scenarios;
mod select;
mod status;
mod stillness;
mod unsaid;
