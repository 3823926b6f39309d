//! The program as a whole: arguments to settings, one build, signals, the exit code.

use std::ffi::OsString;
use std::time::Duration;

use crate::blocking::Interrupt;
use crate::build::TOO_FEW_PROCESSES;
use crate::cli::{self, Verb};
use crate::failure::{Failure, Kind};
use crate::output::{Event, Format, Level, Voice, log_libraries};
use crate::settings::{BuildSettings, DoctorSettings, Door, Environment};

/// How long a build that was told to end may take; a pod has 30 s by default.
const GRACE: Duration = Duration::from_secs(5);

/// Threads of a build besides two a core.
const SPARE_THREADS: usize = 4;

/// Runs the program with these arguments (the program's name first) and returns its exit code.
///
/// A program called `executor` behaves as `longshore executor`.
pub fn run(arguments: Vec<OsString>) -> u8 {
    let settings = match task(arguments) {
        Ok(Task::Build(settings)) => *settings,
        Ok(Task::Doctor(settings)) => {
            let outcome = super::doctor::doctor(&settings);
            return outcome.unwrap_or_else(|failure| fail(settings.voice, Door::Build, &failure));
        }
        Err(code) => return code,
    };
    if settings.voice.level == Level::Debug {
        log_libraries(settings.voice);
    }
    let (voice, door) = (settings.voice, settings.door);
    if let Err(error) = try_threads() {
        let failure = Failure::new(Kind::Unable, anyhow::anyhow!("cannot start threads: {error}"));
        return fail(voice, door, &failure.hint(TOO_FEW_PROCESSES));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(until_signal(settings)),
        Err(error) => Err(Failure::new(Kind::Bug, error)),
    };
    outcome.map_or_else(|failure| fail(voice, door, &failure), |()| 0)
}

/// Starts as many threads at once as a build has at least: the runtime takes it for a defect when
/// there can be no more of them.
fn try_threads() -> std::io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    std::thread::scope(|scope| {
        let wait = || drop(held.lock().map(|held| held.recv()));
        let start = || std::thread::Builder::new().spawn_scoped(scope, wait).map(drop);
        let started = (0..2 * cores + SPARE_THREADS).try_for_each(|_| start());
        // The one that waits for it goes, and lets the next.
        drop(hold);
        started
    })
}

/// What there is to do.
enum Task {
    Build(Box<BuildSettings>),
    Doctor(DoctorSettings),
}

fn task(arguments: Vec<OsString>) -> Result<Task, u8> {
    let door = if cli::is_executor(&arguments) { Door::Executor } else { Door::Build };
    let format = if cli::wants_json(&arguments) { Format::Json } else { Format::Text };
    // What is wrong with the settings may be the level; until they are read, it is the default.
    let voice = Voice { format, ..Voice::default() };
    let verb = cli::parse(&arguments).map_err(|refusal| match (refusal.is_error(), format) {
        (true, Format::Json) => fail(voice, door, &Failure::usage(refusal.message())),
        (is_error, _) => {
            refusal.print();
            if is_error { exit_code(door, Kind::Usage) } else { 0 }
        }
    })?;
    let environment = Environment::read();
    let build = |settings| Task::Build(Box::new(settings));
    let task = match verb {
        Verb::Build(args) => BuildSettings::of_build(*args, &environment).map(build),
        Verb::Executor(args) => {
            BuildSettings::of_executor(*args, &environment, |path| path.exists()).map(build)
        }
        Verb::Doctor(args) => DoctorSettings::of(args, &environment).map(Task::Doctor),
    };
    task.map_err(|failure| fail(voice, door, &failure))
}

/// Builds until done or told to end; then what runs is stopped, and waited for.
async fn until_signal(settings: BuildSettings) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| Failure::new(Kind::Bug, error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupted = listen(SignalKind::interrupt())?;
    let interrupt = Interrupt::default();
    let build = super::build::build(settings, interrupt.clone());
    tokio::pin!(build);
    let number = tokio::select! {
        outcome = &mut build => return outcome,
        _ = terminate.recv() => 15,
        _ = interrupted.recv() => 2,
    };
    interrupt.set();
    // Steps and other work on this machine end when they are told to; a registry that is silent
    // is not waited for, or the pod would be killed before its files are removed.
    match tokio::time::timeout(GRACE, build).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Failure::new(
            Kind::Signal(number),
            anyhow::anyhow!("the build was ended by signal {number}"),
        )),
    }
}

fn fail(voice: Voice, door: Door, failure: &Failure) -> u8 {
    let exit_code = exit_code(door, failure.kind);
    let hints = failure.hints.clone();
    voice.say(&Event::Failed { message: failure.message(), hints, exit_code });
    exit_code
}

const fn exit_code(door: Door, kind: Kind) -> u8 {
    match door {
        Door::Build => kind.exit_code(),
        Door::Executor => kind.executor_exit_code(),
    }
}
