//! What each station of the way costs at 200, 2,000 and 20,000 peers: `cargo bench --bench stations`.

mod workload;

use divan::Bencher;
use workload::{SIZES, Workload};

fn main() {
    divan::main();
}

fn station(bencher: Bencher<'_, '_>, name: &str, peers: usize) {
    let workload = Workload::of(peers);
    bencher.bench_local(|| workload.station(name));
}

#[divan::bench(args = SIZES)]
fn parse(bencher: Bencher<'_, '_>, peers: usize) {
    station(bencher, "parse", peers);
}

#[divan::bench(args = SIZES)]
fn select(bencher: Bencher<'_, '_>, peers: usize) {
    station(bencher, "select", peers);
}

#[divan::bench(args = SIZES)]
fn decide(bencher: Bencher<'_, '_>, peers: usize) {
    station(bencher, "decide", peers);
}

#[divan::bench(args = SIZES)]
fn merge(bencher: Bencher<'_, '_>, peers: usize) {
    station(bencher, "merge", peers);
}

#[divan::bench(args = SIZES)]
fn render(bencher: Bencher<'_, '_>, peers: usize) {
    station(bencher, "render", peers);
}

#[divan::bench(args = SIZES)]
fn compare(bencher: Bencher<'_, '_>, peers: usize) {
    station(bencher, "compare", peers);
}
