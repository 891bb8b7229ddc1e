"""Prints the table of a comparison and writes it down as JSON.

    report.py RESULTS JSON

RESULTS has a line for each run: query, engine, and what the run printed, with tabs between them.
"""

import json
import sys


def main():
    results, report = sys.argv[1:]
    queries = {}
    with open(results, encoding="utf-8") as file:
        for line in file:
            query, engine, run = line.split("\t", 2)
            run = json.loads(run) | {"name": query, "engine": engine}
            queries.setdefault(query, {"name": query})[engine] = run
    print(f"\n{'query':<8} {'Flink events/CPU-s':>20} {'Kappa events/CPU-s':>20} {'ratio':>8}")
    for query in queries.values():
        speeds = [query.get(engine, {}).get("events_per_cpu_s") for engine in ("flink", "kappa")]
        query["ratio"] = speeds[1] / speeds[0] if all(speeds) else None
        cells = [f"{speed:,.0f}" if speed else "failed" for speed in speeds]
        ratio = f"{query['ratio']:.2f}" if query["ratio"] else "-"
        print(f"{query['name']:<8} {cells[0]:>20} {cells[1]:>20} {ratio:>8}")
    with open(report, "w", encoding="utf-8") as file:
        json.dump(list(queries.values()), file, indent=2)
        file.write("\n")
    print(f"written to {report}")


if __name__ == "__main__":
    main()
