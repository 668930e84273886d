// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;
// solhint-disable-next-line no-unused-import
import {JobMarket} from "../../contracts/JobMarket.sol";
