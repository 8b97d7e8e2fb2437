// Runs the C++ engine from several threads at once, in every form, under a sanitizer, or as it is:
//   g++ -std=c++17 -O1 -g -march=native -pthread -DFLP_VALUE=float -fsanitize=thread benchmarks/chain_sanitizers.cpp -o chain && ./chain
// and the same with -fsanitize=address,undefined. It prints "all finite" and ends with 0 if all went well.

#include "../agents/flp_agents/closed_form/plastic_chain/plastic_chain.cpp"

#include <cstdio>

int main() {
  std::atomic<int> failed{0}, run{0};
  std::vector<std::thread> callers;
  for (long caller = 0; caller < 4; ++caller)
    callers.emplace_back([&, caller] {
      for (int form = 0; form < 32; ++form)
        for (long lifetimes : {1L, 2L, 3L})
          for (long threads = 1; threads <= 3; ++threads)
            for (int way = 0; way < 3; ++way) {
              // Narrow enough that every step can be undone; and the callers are at different places.
              const long width = 1 + (17 * (form + caller) + 5 * way) % 40;
              const SelfTestCase test = {lifetimes, threads, width, form & 1, form >> 1 & 1, form >> 2 & 1,
                                         form >> 3 & 1, form >> 4 & 1, way == 1, way == 2};
              ++run;
              if (!SelfTest(test).passes()) ++failed;
            }
    });
  for (auto& caller : callers) caller.join();
  std::printf(failed ? "%d of %d chains failed\n" : "all finite: %d failures in %d chains\n", failed.load(), run.load());
  return failed != 0;
}
