// Convolutions, their gradients and matrix products by oneDNN, and `materialize`, as handlers of
// XLA's foreign function interface. Compiled programs call them without Python: they do not take
// the GIL, and a process can exit while they run.
//
// onednn.py describes an operation by attributes of the call. At its first run it becomes a oneDNN
// primitive, which lives as long as a compiled program that calls it, and is shared by all programs
// that call the same one.

#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

// GNU's OpenMP, with which oneDNN is built. Its settings are those of the calling thread.
extern "C" int omp_get_max_threads();
extern "C" void omp_set_num_threads(int);

namespace ffi = xla::ffi;
using dnnl::memory;
using Numbers = std::vector<int64_t>;

namespace {

constexpr size_t kAlignment = 128;

size_t Aligned(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

// An object that is never destroyed: XLA's threads may still run when the process exits.
template <typename T, typename... Arguments>
T& Immortal(Arguments&&... arguments) {
  static T& object = *new T(std::forward<Arguments>(arguments)...);
  return object;
}

dnnl::engine& Engine() { return Immortal<dnnl::engine>(dnnl::engine::kind::cpu, 0); }

dnnl::stream& Stream() { return Immortal<dnnl::stream>(Engine()); }

// Sets the number of OpenMP threads of an operation for the duration of a scope.
class Threads {
 public:
  explicit Threads(int count) : before_(omp_get_max_threads()) { omp_set_num_threads(count); }
  ~Threads() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// Scratch memory: one block for each thread that runs at the same time, which grows to the need of
// the largest operation. It is freed with the last operation.
class Workspaces {
 public:
  struct Block {
    size_t size = 0;
    std::unique_ptr<char[]> bytes;
    char* begin() const {
      return reinterpret_cast<char*>(Aligned(reinterpret_cast<uintptr_t>(bytes.get())));
    }
  };

  static std::shared_ptr<Workspaces> Shared() {
    static std::mutex& mutex = *new std::mutex;
    static std::weak_ptr<Workspaces>& shared = *new std::weak_ptr<Workspaces>;
    std::lock_guard<std::mutex> lock(mutex);
    auto workspaces = shared.lock();
    if (!workspaces) shared = workspaces = std::make_shared<Workspaces>();
    return workspaces;
  }

  Block Take(size_t size) {
    Block block;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        block = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    if (block.size < size + kAlignment) {
      block.size = size + kAlignment;
      block.bytes.reset();  // first free, then allocate
      block.bytes.reset(new char[block.size]);
    }
    return block;
  }

  void Return(Block block) {
    std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(block));
  }

 private:
  std::mutex mutex_;
  std::vector<Block> idle_;
};

// An operation as described by onednn.py. Layouts are in the order of oneDNN's axes: NCHW for
// images and outputs, (G)OIHW for kernels, (batch, rows, columns) for matrices.
struct Description {
  std::string operation;  // conv2d, conv2d_input_gradient, conv2d_kernel_gradient or matmul
  std::array<Numbers, 3> shapes, strides;  // of one part's source, weights and destination
  Numbers window_strides, padding_low, padding_high;  // of a convolution
  Numbers order;    // roles of arguments and result: source (0), weights (1), destination (2)
  Numbers offsets;  // bytes from one part to the next, in each of them
  int64_t parts;    // number of parts of the batch, each of which may run in its own thread
  int64_t threads;  // number of OpenMP threads for each part

  // Whether the results of the parts are added.
  bool adds() const { return parts > 1 && offsets[2] == 0; }

  auto key() const {
    return std::tie(operation, shapes, strides, window_strides, padding_low, padding_high, order,
                    offsets, parts, threads);
  }
  bool operator<(const Description& other) const { return key() < other.key(); }
};

dnnl::primitive_attr Attributes(bool adds = false) {
  dnnl::primitive_attr attributes;
  // The default scratchpad belongs to the thread that created the primitive.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (adds) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  return attributes;
}

// A oneDNN primitive from two arrays in XLA's layouts to a third, with the reorders it needs.
class Operation {
 public:
  static std::shared_ptr<Operation> Shared(const Description& description) {
    static std::mutex& mutex = *new std::mutex;
    static auto& known = *new std::map<Description, std::weak_ptr<Operation>>;
    std::lock_guard<std::mutex> lock(mutex);
    if (auto found = known.find(description); found != known.end()) {
      if (auto operation = found->second.lock()) return operation;
    }
    for (auto each = known.begin(); each != known.end();) {
      each = each->second.expired() ? known.erase(each) : std::next(each);
    }
    auto operation = std::make_shared<Operation>(description);
    known[description] = operation;
    return operation;
  }

  explicit Operation(const Description& description)
      : description_(description), workspaces_(Workspaces::Shared()) {
    alive++;
    Threads threads(description.threads);  // the primitive is created for this number of threads
    auto described = Describe();
    primitive_ = dnnl::primitive(described.get());
    scratchpad_ = described.scratchpad_desc();
    size_t scratchpad_size = scratchpad_.get_size(), offset = 0;
    constexpr int kKinds[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    constexpr int kGradients[] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST};
    const bool to_input = description.operation == "conv2d_input_gradient";
    const bool to_kernel = description.operation == "conv2d_kernel_gradient";
    const bool is_gradient[] = {to_input, to_kernel, to_input || to_kernel};
    for (int i = 0; i < 3; i++) {
      const int which = description.order[i];
      Operand& operand = operands_[i];
      operand.kind = (is_gradient[which] ? kGradients : kKinds)[which];
      operand.outer = Layout(which);
      operand.inner = described.query_md(dnnl::query::exec_arg_md, operand.kind);
      if (operand.inner == operand.outer && !(i == 2 && description.adds())) continue;
      operand.offset = offset;
      offset += Aligned(operand.inner.get_size());
      const auto& from = i < 2 ? operand.outer : operand.inner;
      const auto& to = i < 2 ? operand.inner : operand.outer;
      for (bool adds : {false, true}) {
        if (adds && !(i == 2 && description.adds())) continue;
        dnnl::reorder::primitive_desc reorder(Engine(), from, Engine(), to, Attributes(adds));
        (adds ? operand.add : operand.copy) = dnnl::reorder(reorder);
        operand.scratchpad = reorder.scratchpad_desc();
        scratchpad_size = std::max(scratchpad_size, operand.scratchpad.get_size());
      }
    }
    scratchpad_offset_ = offset;
    workspace_size_ = offset + scratchpad_size;
  }

  ~Operation() { alive--; }

  static inline std::atomic<long> alive{0};

  // Reads two arrays and writes the third. Calls `wait` before it adds a part's result.
  template <typename Wait>
  void Run(int64_t part, const std::array<char*, 3>& arrays, Wait wait) {
    Threads threads(description_.threads);
    // Operations that use all cores run one at a time.
    static std::mutex& all_cores = *new std::mutex;
    std::unique_lock<std::mutex> lock(all_cores, std::defer_lock);
    if (description_.threads > 1) lock.lock();

    Workspaces::Block block = workspaces_->Take(workspace_size_);
    char* workspace = block.begin();
    char* scratchpad = workspace + scratchpad_offset_;
    std::array<memory, 3> outer, inner;
    for (int i = 0; i < 3; i++) {
      const Operand& operand = operands_[i];
      outer[i] = memory(operand.outer, Engine(), arrays[i] + part * description_.offsets[i]);
      inner[i] = operand.copy ? memory(operand.inner, Engine(), workspace + operand.offset) : outer[i];
    }
    auto reorder = [&](int i, const dnnl::primitive& how, const memory& from, const memory& to) {
      how.execute(Stream(), {{DNNL_ARG_FROM, from},
                             {DNNL_ARG_TO, to},
                             {DNNL_ARG_SCRATCHPAD, {operands_[i].scratchpad, Engine(), scratchpad}}});
    };
    for (int i = 0; i < 2; i++) {
      if (operands_[i].copy) reorder(i, operands_[i].copy, outer[i], inner[i]);
    }
    primitive_.execute(Stream(), {{operands_[0].kind, inner[0]},
                                  {operands_[1].kind, inner[1]},
                                  {operands_[2].kind, inner[2]},
                                  {DNNL_ARG_SCRATCHPAD, {scratchpad_, Engine(), scratchpad}}});
    wait();
    if (operands_[2].copy) {
      const bool adds = description_.adds() && part > 0;
      reorder(2, adds ? operands_[2].add : operands_[2].copy, inner[2], outer[2]);
    }
    workspaces_->Return(std::move(block));
  }

 private:
  struct Operand {
    int kind;
    memory::desc outer, inner, scratchpad;  // XLA's layout and the primitive's
    size_t offset;                          // in the workspace, of the copy in the primitive's layout
    dnnl::primitive copy, add;
  };

  memory::desc Layout(int which) const {
    return {description_.shapes[which], memory::data_type::f32, description_.strides[which]};
  }

  dnnl::primitive_desc Describe() const {
    const memory::desc source = Layout(0), destination = Layout(2);
    if (description_.operation == "matmul") {
      return dnnl::matmul::primitive_desc(Engine(), source, Layout(1), destination, Attributes());
    }
    // oneDNN chooses the layout of kernels.
    const memory::desc weights(description_.shapes[1], memory::data_type::f32,
                               memory::format_tag::any);
    const auto& [strides, low, high] = std::tie(
        description_.window_strides, description_.padding_low, description_.padding_high);
    const auto direct = dnnl::algorithm::convolution_direct;
    dnnl::convolution_forward::primitive_desc forward(
        Engine(), dnnl::prop_kind::forward_training, direct, source, weights, destination, strides,
        low, high, Attributes());
    if (description_.operation == "conv2d") return forward;
    if (description_.operation == "conv2d_input_gradient") {
      return dnnl::convolution_backward_data::primitive_desc(Engine(), direct, source, weights,
                                                             destination, strides, low, high,
                                                             forward, Attributes());
    }
    return dnnl::convolution_backward_weights::primitive_desc(
        Engine(), direct, source, weights, destination, strides, low, high, forward, Attributes());
  }

  Description description_;
  std::shared_ptr<Workspaces> workspaces_;
  dnnl::primitive primitive_;
  memory::desc scratchpad_;
  std::array<Operand, 3> operands_;
  size_t scratchpad_offset_, workspace_size_;
};

// One run of an operation, shared by the calling thread and idle threads of XLA's pool.
//
// The calling thread runs all parts that no other thread has begun. It then returns a future, which
// the thread that ends the last part completes.
class Job {
 public:
  Job(std::shared_ptr<Operation> operation, int64_t parts, std::array<char*, 3> arrays)
      : operation_(std::move(operation)), parts_(parts), arrays_(arrays) {}

  ffi::Future future() { return ffi::Future(promise_); }

  void Work() {
    while (std::optional<int64_t> part = Begin()) {
      std::string problem;
      try {
        // Parts are added in order, so that rounding is deterministic.
        operation_->Run(*part, arrays_, [&] { WaitFor(*part); });
      } catch (const std::exception& error) {
        problem = error.what();
        if (problem.empty()) problem = "unknown";
      }
      if (End(*part, problem)) Complete();
    }
  }

 private:
  std::optional<int64_t> Begin() {
    std::lock_guard<std::mutex> lock(mutex_);
    return begun_ < parts_ ? std::optional<int64_t>(begun_++) : std::nullopt;
  }

  void WaitFor(int64_t part) {
    std::unique_lock<std::mutex> lock(mutex_);
    change_.wait(lock, [&] {
      for (int64_t before = 0; before < part; before++) {
        if (!ended_.count(before)) return false;
      }
      return true;
    });
  }

  bool End(int64_t part, const std::string& problem) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!problem.empty()) problem_ = problem;
    ended_.insert(part);
    change_.notify_all();
    return static_cast<int64_t>(ended_.size()) == parts_;
  }

  void Complete() {
    if (problem_.empty()) {
      promise_.SetAvailable();
    } else {
      promise_.SetError(ffi::Error::Internal("oneDNN failed: " + problem_));
    }
  }

  std::shared_ptr<Operation> operation_;
  const int64_t parts_;
  const std::array<char*, 3> arrays_;
  ffi::Promise promise_;
  std::mutex mutex_;
  std::condition_variable change_;
  int64_t begun_ = 0;
  std::set<int64_t> ended_;
  std::string problem_;
};

// The state of one call in a compiled program.
struct Call {
  static ffi::TypeId id;

  Description description;
  std::mutex mutex;
  std::shared_ptr<Operation> operation;

  std::shared_ptr<Operation> Prepared() {
    std::lock_guard<std::mutex> lock(mutex);
    if (!operation) operation = Operation::Shared(description);
    return operation;
  }
};

ffi::TypeId Call::id = {};
ffi::TypeInfo kCallInfo = ffi::MakeTypeInfo<Call>();

Numbers Vector(ffi::Span<const int64_t> span) { return Numbers(span.begin(), span.end()); }

using Span = ffi::Span<const int64_t>;

ffi::ErrorOr<std::unique_ptr<Call>> Instantiate(
    std::string_view operation, Span source, Span source_strides, Span weights,
    Span weights_strides, Span destination, Span destination_strides, Span window_strides,
    Span padding_low, Span padding_high, Span order, Span offsets, int64_t parts, int64_t threads) {
  auto call = std::make_unique<Call>();
  call->description = {std::string(operation),
                       {Vector(source), Vector(weights), Vector(destination)},
                       {Vector(source_strides), Vector(weights_strides), Vector(destination_strides)},
                       Vector(window_strides),
                       Vector(padding_low),
                       Vector(padding_high),
                       Vector(order),
                       Vector(offsets),
                       parts,
                       threads};
  return call;
}

XLA_FFI_DEFINE_HANDLER(kInstantiate, Instantiate,
                       ffi::Ffi::BindInstantiate()
                           .Attr<std::string_view>("operation")
                           .Attr<Span>("source")
                           .Attr<Span>("source_strides")
                           .Attr<Span>("weights")
                           .Attr<Span>("weights_strides")
                           .Attr<Span>("destination")
                           .Attr<Span>("destination_strides")
                           .Attr<Span>("window_strides")
                           .Attr<Span>("padding_low")
                           .Attr<Span>("padding_high")
                           .Attr<Span>("order")
                           .Attr<Span>("offsets")
                           .Attr<int64_t>("parts")
                           .Attr<int64_t>("threads"));

ffi::Future Failed(const std::string& problem) {
  ffi::Promise promise;
  ffi::Future future(promise);
  promise.SetError(ffi::Error::Internal("oneDNN failed: " + problem));
  return future;
}

ffi::Future Execute(Call* call, ffi::ThreadPool pool, ffi::AnyBuffer first, ffi::AnyBuffer second,
                    ffi::Result<ffi::AnyBuffer> result, ffi::Dictionary) {
  const std::array<char*, 3> arrays = {static_cast<char*>(first.untyped_data()),
                                       static_cast<char*>(second.untyped_data()),
                                       static_cast<char*>(result->untyped_data())};
  std::shared_ptr<Operation> operation;
  try {
    operation = call->Prepared();
  } catch (const std::exception& error) {
    return Failed(error.what());
  }
  const int64_t parts = call->description.parts;
  auto job = std::make_shared<Job>(std::move(operation), parts, arrays);
  ffi::Future future = job->future();
  for (int64_t part = 1; part < parts; part++) {
    pool.Schedule([job] { job->Work(); });  // does nothing if all parts have begun
  }
  job->Work();
  return future;
}

XLA_FFI_DEFINE_HANDLER(kExecute, Execute,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::State<Call>>()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attrs());

// The result aliases the argument, so there is nothing to do.
ffi::Error Materialize(ffi::AnyBuffer, ffi::Result<ffi::AnyBuffer>) { return ffi::Error::Success(); }

XLA_FFI_DEFINE_HANDLER(kMaterialize, Materialize,
                       ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>());

PyObject* Capsule(const void* pointer) {
  return PyCapsule_New(const_cast<void*>(pointer), nullptr, nullptr);
}

PyObject* Targets(PyObject*, PyObject*) {
  return Py_BuildValue("{s:{s:N,s:N},s:{s:N}}",                                          //
                       "zoo_onednn",                                                     //
                       "instantiate", Capsule(reinterpret_cast<void*>(kInstantiate)),    //
                       "execute", Capsule(reinterpret_cast<void*>(kExecute)),            //
                       "zoo_materialize",                                                //
                       "execute", Capsule(reinterpret_cast<void*>(kMaterialize)));
}

PyObject* Types(PyObject*, PyObject*) {
  return Py_BuildValue("{s:{s:N,s:N}}", "zoo_onednn_call",  //
                       "type_id", Capsule(&Call::id), "type_info", Capsule(&kCallInfo));
}

PyObject* Cores(PyObject*, PyObject*) { return PyLong_FromLong(omp_get_max_threads()); }

PyObject* Alive(PyObject*, PyObject*) { return PyLong_FromLong(Operation::alive); }

PyMethodDef kMethods[] = {
    {"targets", Targets, METH_NOARGS, "The handlers: what jax.ffi.register_ffi_target takes."},
    {"types", Types, METH_NOARGS, "Their state: what jax.ffi.register_ffi_type takes."},
    {"cores", Cores, METH_NOARGS, "How many threads OpenMP gives to an operation."},
    {"alive", Alive, METH_NOARGS, "The number of oneDNN operations that compiled programs hold."},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef kModule = {PyModuleDef_HEAD_INIT, "_onednn", "See onednn.cc.", -1, kMethods,
                       nullptr,               nullptr,   nullptr,          nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__onednn() {
  // Live primitives are shared by `Operation::Shared`; others should be freed.
  dnnl::set_primitive_cache_capacity(0);
  return PyModule_Create(&kModule);
}
