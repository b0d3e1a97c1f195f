#include "rows.h"

namespace unicorn {

const RowKernel* findRowKernel(const std::string& name) {
  static constexpr RowKernel kernels[] = {
      {"embed", embedRows, nullptr},
      {"rmsNorm", rmsNormRows, nullptr},
      {"matchRms", matchRmsRows, nullptr},
      {"gaussianTopK", gaussianTopKRows, nullptr},
      {"ropeTable", ropeTableRows, nullptr},
      {"rope", ropeRows, nullptr},
      {"kvWrite", kvWriteRows, nullptr},
      {"activation", activationRows, nullptr},
      {"glu", gluRows, nullptr},
      {"softcap", softcapRows, nullptr},
      {"scale", scaleRows, nullptr},
      {"add", addRows, nullptr},
      {"multiply", multiplyRows, nullptr},
      {"mean", meanRows, nullptr},
      {"altUpPredict", altUpPredictRows, nullptr},
      {"altUpCorrect", altUpCorrectRows, nullptr},
      {"altUpInject", altUpInjectRows, nullptr},
      {"copy", copyRows, nullptr},
      {"slice", sliceRows, nullptr},
      {"concat", concatRows, nullptr},
      {"takeRows", takeRowsRows, nullptr},
      {"putRows", putRowsRows, nullptr},
      {"logProbabilities", logProbabilitiesRows, nullptr},
      {"segmentMean", segmentMeanRows, nullptr},
      {"accumulateSquares", accumulateSquaresRows, nullptr},
      {"causalConv", causalConvRows, causalConvScratchBytes},
      {"gatedDelta", gatedDeltaRows, gatedDeltaRowsScratchBytes},
      {"copySlots", copySlotsRows, nullptr},
  };
  for (const RowKernel& kernel : kernels) {
    if (name == kernel.name) return &kernel;
  }
  return nullptr;
}

}  // namespace unicorn
