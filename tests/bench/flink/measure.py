"""Runs one query in Flink, and prints what it took as a line of JSON.

Flink's own Java classes are driven through Py4J: one JVM holds a MiniCluster (one task manager, one
slot), and this program only tells it what to do. The query is run twice in that JVM: first over the
beginning of the topic, so that the code is compiled, then over all of it, which is measured.
CPU time is the JVM's, user and system, from the moment that the statement is handed over until the
job has ended: planning counts, starting the cluster does not.

Ends with 1 and Flink's own words when the job fails or has not read all events.
"""

import argparse
import glob
import json
import os
import re
import signal
import sys
import time

from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
from py4j.protocol import Py4JJavaError

# The heap and the memory that Flink manages (RocksDB's) are about what Nexmark's task manager of
# 8 GB has of each.
JAVA_OPTIONS = ["-Xmx3g", "-XX:MaxDirectMemorySize=1g", "-Duser.timezone=UTC"]

# What Flink's serializers and its cleaning of closures look into (env.java.opts.all of Flink's own
# configuration, as far as it is of java.base).
OPENED = (
    "java.io java.lang java.lang.reflect java.net java.nio java.text java.time java.util "
    "java.util.concurrent java.util.concurrent.atomic java.util.concurrent.locks sun.nio.ch"
).split()

LOG = """\
rootLogger.level = WARN
rootLogger.appenderRef.file.ref = file
appender.file.name = file
appender.file.type = FILE
appender.file.fileName = ${sys:log.file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %-5p %c{1} - %m%n
"""


def configuration(work):
    """Nexmark's settings for Flink; the interval of checkpoints is how often Kappa commits, roughly."""
    return {
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.bind-port": "0",
        "taskmanager.memory.managed.size": "2g",
        "taskmanager.memory.network.min": "256m",
        "taskmanager.memory.network.max": "256m",
        "io.tmp.dirs": f"{work}/tmp",
        "parallelism.default": "1",
        "pipeline.object-reuse": "true",
        "restart-strategy.type": "none",
        "state.backend.type": "rocksdb",
        "execution.checkpointing.dir": f"file://{work}/checkpoints",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.interval": "10 s",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        # The job does not wait for one more checkpoint when it has read everything.
        "execution.checkpointing.checkpoints-after-tasks-finish.enabled": "false",
        "table.exec.mini-batch.enabled": "true",
        "table.exec.mini-batch.allow-latency": "2 s",
        "table.exec.mini-batch.size": "50000",
        "table.optimizer.distinct-agg.split.enabled": "true",
        "table.local-time-zone": "UTC",
    }


def statements(path, variables):
    """The statements of a file; a line of comment is a line of its own there."""
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if not line.lstrip().startswith("--")]
    text = re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], "".join(lines))
    return [statement.strip() for statement in text.split(";") if statement.strip()]


class Flink:
    """A JVM with a MiniCluster."""

    def __init__(self, home, work):
        distribution = glob.glob(f"{home}/python/lib/python*/site-packages/pyflink")[0]
        py4j = glob.glob(f"{home}/python/share/py4j/py4j*.jar")[0]
        with open(f"{work}/log4j.properties", "w", encoding="utf-8") as file:
            file.write(LOG)
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED]
        options = opened + JAVA_OPTIONS + [
            f"-Dlog.file={work}/flink.log",
            f"-Dlog4j.configurationFile=file:{work}/log4j.properties",
            f"-Djava.io.tmpdir={work}/tmp",
        ]
        self.output = open(f"{work}/flink.out", "w", encoding="utf-8")
        port, token, self.process = launch_gateway(
            jarpath=py4j,
            classpath=f"{distribution}/lib/*:{home}/connector/*",
            javaopts=options,
            die_on_exit=True,
            redirect_stdout=self.output,
            redirect_stderr=self.output,
            enable_auth=True,
            return_proc=True,
        )
        self.pid = self.process.pid
        # Objects of Java are not given back one by one: the JVM ends before this program does.
        parameters = GatewayParameters(
            port=port, auth_token=token, enable_memory_management=False
        )
        self.jvm = JavaGateway(gateway_parameters=parameters).jvm
        flink = self.jvm.org.apache.flink
        settings = flink.configuration.Configuration()
        for key, value in configuration(work).items():
            settings.setString(key, value)
        builder = getattr(flink.runtime.minicluster, "MiniClusterConfiguration$Builder")()
        builder.setConfiguration(settings).setNumTaskManagers(1).setNumSlotsPerTaskManager(1)
        self.cluster = flink.runtime.minicluster.MiniCluster(builder.build())
        self.cluster.start()
        address = self.cluster.getRestAddress().get()
        # Jobs go to that cluster, not to one that each of them would start.
        settings.setString("execution.target", "remote")
        settings.setString("rest.port", str(address.getPort()))
        self.settings = settings

    def run(self, ddl, query, warm_up=None):
        """Runs a query to its end, over the first `warm_up` events or all; the events read."""
        table = self.jvm.org.apache.flink.table.api
        environment = table.TableEnvironment.create(
            table.EnvironmentSettings.newInstance()
            .inStreamingMode()
            .withConfiguration(self.settings)
            .build()
        )
        for statement in ddl + query[:-1]:
            environment.executeSql(statement)
        if warm_up is not None:
            environment.executeSql(
                "ALTER TABLE bid SET ('scan.bounded.mode' = 'specific-offsets', "
                f"'scan.bounded.specific-offsets' = 'partition:0,offset:{warm_up}')"
            )
        job = environment.executeSql(query[-1]).getJobClient().get().getJobID()
        # The cluster says at once when the job ends; TableResult.await() asks every two seconds.
        result = self.cluster.requestJobResult(job).get()
        if not result.isSuccess():
            cause = result.getSerializedThrowable()
            sys.exit(cause.get().getFullStringifiedStackTrace() if cause.isPresent() else "cancelled")
        graph = self.cluster.getArchivedExecutionGraph(job).get()
        source = graph.getVerticesTopologically().iterator().next().getTaskVertices()[0]
        return source.getCurrentExecutionAttempt().getIOMetrics().getNumRecordsIn()

    def cpu_seconds(self):
        """User and system time of the JVM so far, the threads that have ended included."""
        with open(f"/proc/{self.pid}/stat", encoding="utf-8") as file:
            # The command's name, in parentheses, may hold anything, so count the fields behind it.
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def reset_peak(self):
        """Lets the peak of resident memory begin anew."""
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")

    def peak_mb(self):
        """The peak of resident memory, in MB of a million bytes."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) * 1024 / 1e6

    def stop(self):
        """Ends the JVM; its state is of no use to anybody."""
        self.process.kill()
        self.process.wait()
        self.output.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flink", required=True, help="what `run fetch` has put into the cache")
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--ddl", required=True, help="the file with the source's CREATE TABLE")
    parser.add_argument("--sql", required=True, help="the query's file; its last statement is measured")
    parser.add_argument("--name", required=True)
    parser.add_argument("--events", required=True, type=int)
    parser.add_argument("--warm-up", required=True, type=int, help="events of the run before")
    parser.add_argument("--work", required=True, help="a directory for state and logs")
    options = parser.parse_args()
    os.makedirs(f"{options.work}/tmp", exist_ok=True)
    ddl = statements(options.ddl, {"BOOTSTRAP": options.bootstrap_servers})
    query = statements(options.sql, {})
    # So that the JVM is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    flink = Flink(options.flink, options.work)
    try:
        flink.run(ddl, query, min(options.warm_up, options.events))
        flink.reset_peak()
        cpu, started = flink.cpu_seconds(), time.monotonic()
        events = flink.run(ddl, query)
        wall_s, cpu_s = time.monotonic() - started, flink.cpu_seconds() - cpu
        peak_mb = flink.peak_mb()
    except Py4JJavaError as error:
        # The text is asked of the JVM, so before it is gone.
        sys.exit(str(error))
    finally:
        flink.stop()
    if events != options.events:
        sys.exit(f"{events} of {options.events} events were read")
    print(
        json.dumps(
            {
                "name": options.name,
                "engine": "flink",
                "events": events,
                "wall_s": round(wall_s, 3),
                "cpu_s": round(cpu_s, 2),
                "events_per_cpu_s": round(events / cpu_s),
                "peak_mb": round(peak_mb),
            }
        )
    )


if __name__ == "__main__":
    main()
